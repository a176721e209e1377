//! Where a head ends. What stands in it is not looked at.

/// Where the head that `buffer` starts with ends, behind its empty line; `None` if it is not complete.
///
/// `searched` says how much of the buffer was there at the last call, so that no byte is looked at twice. Line ends
/// without CR end a head too: who reads it refuses it then, which is better than to wait for the rest of it.
pub fn find_end(buffer: &[u8], searched: usize) -> Option<usize> {
    // The two bytes behind a line end may have been missing last time.
    let start = searched.saturating_sub(2).min(buffer.len());
    for found in memchr::memchr_iter(b'\n', &buffer[start..]) {
        let next = start + found + 1;
        match buffer[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_is_found_however_the_head_arrives() {
        let table: [(&[u8], Option<usize>); 8] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", Some(27)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", None),
            (b"GET / HTTP/1.1\nHost: a\n\nbody", Some(24)),
            (b"GET / HTTP/1.1\r\n\nbody", Some(17)),
            (b"a\n\r\nb", Some(4)),
            (b"\r\nGET / HTTP/1.1\r\n", None),
            (b"a\n\rb\n", None),
            (b"", None),
        ];
        for (buffer, end) in table {
            assert_eq!(find_end(buffer, 0), end);
            // Byte by byte, each time searching only what is new.
            let grown = (0..=buffer.len()).find_map(|len| find_end(&buffer[..len], len.saturating_sub(1)));
            assert_eq!(grown, end);
        }
        assert_eq!(find_end(b"a", 100), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(head in prop::collection::vec(any::<u8>(), 0..200), searched in 0usize..300) {
            let _ = find_end(&head, searched);
        }
    }
}
