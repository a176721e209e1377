//! Where the body of an HTTP/1.1 message ends, byte by byte and strictly (RFC 9112, sections 6 and 7.1).
//!
//! Pingora parses chunks too, and forgives an empty size line, for instance. Nothing it could forgive gets past this.
//! What is read from clients is only counted here ([`BodyEnd::take`]); of an upstream's answer the data is found
//! ([`BodyEnd::data`]).

use http::StatusCode;

/// The longest line of a chunked body: a size with extensions, or a trailer field.
const LINE_BYTES_MAX: u32 = 8 * 1024;
/// The most trailer fields.
const TRAILERS_MAX: u32 = 64;
/// A size has at most this many digits: 2^60 bytes are more than anybody sends.
const SIZE_DIGITS_MAX: u32 = 15;

/// How the end of a message's body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes follow the head.
    Length(u64),
    /// Chunks follow the head.
    Chunked,
}

/// Whether an answer with this status has no body, whatever its fields say (RFC 9110, section 6.4.1). To HEAD none has.
pub fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Whatever comes belongs to the next head: the body is over, or there is none.
    Reached,
    /// So many bytes are missing.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunk),
    /// No request is under way; bytes are not looked at.
    Unknown,
}

/// A place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// In the digits of a size.
    Size {
        /// What they say so far.
        size: u64,
        /// How many they are.
        digits: u32,
    },
    /// In the rest of a size line: extensions, which mean nothing to us.
    Extension {
        /// Of the chunk.
        size: u64,
        /// Bytes of the extensions.
        length: u32,
    },
    /// Behind the CR of a size line.
    SizeLineFeed {
        /// Of the chunk.
        size: u64,
    },
    /// In the data, so many bytes before its end.
    Data {
        /// Bytes.
        left: u64,
    },
    /// Behind the data.
    DataReturn,
    /// Behind the CR behind the data.
    DataLineFeed,
    /// In a trailer field, or at the empty line that ends it all.
    Trailer {
        /// Bytes of the line.
        length: u32,
        /// Fields before it.
        fields: u32,
    },
    /// Behind the CR of such a line.
    TrailerLineFeed {
        /// Bytes of the line.
        length: u32,
        /// Fields before it.
        fields: u32,
    },
}

/// A chunked body that breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl BodyEnd {
    /// The state before the first byte of a body.
    pub fn of(framing: Framing) -> BodyEnd {
        match framing {
            Framing::None | Framing::Length(0) => BodyEnd::Reached,
            Framing::Length(length) => BodyEnd::Length(length),
            Framing::Chunked => BodyEnd::Chunked(Chunk::Size { size: 0, digits: 0 }),
        }
    }

    /// Takes the bytes that have come; the answer is how many of them belong to the body.
    ///
    /// # Errors
    /// The framing is malformed.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match *self {
            BodyEnd::Unknown => Ok(bytes.len()),
            BodyEnd::Reached => Ok(0),
            BodyEnd::Length(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - taken as u64;
                *self = if left == 0 { BodyEnd::Reached } else { BodyEnd::Length(left) };
                Ok(taken)
            }
            BodyEnd::Chunked(mut chunk) => {
                let mut taken = 0;
                while taken < bytes.len() {
                    if let Chunk::Data { left } = &mut chunk {
                        let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                        *left -= skipped as u64;
                        taken += skipped;
                        if *left == 0 {
                            chunk = Chunk::DataReturn;
                        }
                        continue;
                    }
                    let next = chunk.after(bytes[taken])?;
                    taken += 1;
                    match next {
                        Some(next) => chunk = next,
                        None => {
                            *self = BodyEnd::Reached;
                            return Ok(taken);
                        }
                    }
                }
                *self = BodyEnd::Chunked(chunk);
                Ok(taken)
            }
        }
    }
}

impl BodyEnd {
    /// Finds the next run of data among the bytes that have come: so many bytes of framing, then so many of data. Both
    /// are taken.
    ///
    /// # Errors
    /// The framing is malformed.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(usize, usize), Malformed> {
        let BodyEnd::Chunked(mut chunk) = *self else { return Ok((0, self.take(bytes)?)) };
        let mut skipped = 0;
        while skipped < bytes.len() {
            if let Chunk::Data { left } = chunk {
                let data = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - skipped);
                let left = left - data as u64;
                *self = BodyEnd::Chunked(if left == 0 { Chunk::DataReturn } else { Chunk::Data { left } });
                return Ok((skipped, data));
            }
            let next = chunk.after(bytes[skipped])?;
            skipped += 1;
            match next {
                Some(next) => chunk = next,
                None => {
                    *self = BodyEnd::Reached;
                    return Ok((skipped, 0));
                }
            }
        }
        *self = BodyEnd::Chunked(chunk);
        Ok((skipped, 0))
    }
}

impl Chunk {
    /// The place behind one more byte; `None` behind the last of the body.
    fn after(self, byte: u8) -> Result<Option<Chunk>, Malformed> {
        Ok(Some(match (self, byte) {
            (Chunk::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Chunk::Size { size: size << 4 | digit, digits: digits + 1 }
            }
            (Chunk::Size { size, digits: 1.. }, b'\r') => Chunk::SizeLineFeed { size },
            (Chunk::Size { size, digits: 1.. }, b';') => Chunk::Extension { size, length: 0 },
            (Chunk::Extension { size, .. }, b'\r') => Chunk::SizeLineFeed { size },
            (Chunk::Extension { size, length }, b'\t' | b' '..=b'~' | 0x80..) if length < LINE_BYTES_MAX => {
                Chunk::Extension { size, length: length + 1 }
            }
            (Chunk::SizeLineFeed { size: 0 }, b'\n') => Chunk::Trailer { length: 0, fields: 0 },
            (Chunk::SizeLineFeed { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::DataReturn, b'\r') => Chunk::DataLineFeed,
            (Chunk::DataLineFeed, b'\n') => Chunk::Size { size: 0, digits: 0 },
            (Chunk::Trailer { length, fields }, b'\r') => Chunk::TrailerLineFeed { length, fields },
            (Chunk::Trailer { length, fields }, b'\t' | b' '..=b'~' | 0x80..) if length < LINE_BYTES_MAX => {
                Chunk::Trailer { length: length + 1, fields }
            }
            (Chunk::TrailerLineFeed { length: 0, .. }, b'\n') => return Ok(None),
            (Chunk::TrailerLineFeed { fields, .. }, b'\n') if fields < TRAILERS_MAX => {
                Chunk::Trailer { length: 0, fields: fields + 1 }
            }
            _ => return Err(Malformed),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunked() -> BodyEnd {
        BodyEnd::of(Framing::Chunked)
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let mut end = BodyEnd::of(Framing::Length(5));
        assert_eq!(end.take(b"abc"), Ok(3));
        assert_eq!(end.take(b"deGET /"), Ok(2));
        assert_eq!(end, BodyEnd::Reached);
        assert_eq!(end.take(b"GET /"), Ok(0));
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00A;x=\"y\"\r\n0123456789\r\n0;z\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
        ] {
            let mut end = chunked();
            let arrived = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(end.take(arrived.as_bytes()), Ok(body.len()), "{body:?}");
            assert_eq!(end, BodyEnd::Reached);
        }
    }

    /// RFC 9112, section 7.1: what lenient parsers read in different ways.
    #[test]
    fn what_parsers_read_differently_is_malformed() {
        for body in [
            "\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\n",
            "-1\r\n",
            " 3\r\n",
            "3 \r\n",
            "g\r\n",
            "3\nabc\n0\n\n",
            "3\r\nabcd\r\n",
            "3\r\nabc0\r\n",
            "3;a\nb\r\n",
            "1000000000000000000\r\n",
            "0\r\nX: a\nY: b\r\n\r\n",
            "3\rabc",
        ] {
            assert_eq!(chunked().take(body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let long = format!("3;{}", "a".repeat(LINE_BYTES_MAX as usize + 1));
        assert_eq!(chunked().take(long.as_bytes()), Err(Malformed));
        let many = format!("0\r\n{}", "X: y\r\n".repeat(TRAILERS_MAX as usize + 1));
        assert_eq!(chunked().take(many.as_bytes()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            sizes in prop::collection::vec(1usize..20, 1..50),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let mut arrived = body.clone();
            arrived.extend_from_slice(b"next");
            let (mut end, mut taken, mut from) = (chunked(), 0, 0);
            for size in sizes.iter().cycle() {
                let to = (from + size).min(arrived.len());
                taken += end.take(&arrived[from..to]).unwrap();
                from = to;
                if from == arrived.len() {
                    break;
                }
            }
            prop_assert_eq!(taken, body.len());
            prop_assert_eq!(end, BodyEnd::Reached);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let taken = chunked().take(&bytes);
            prop_assert!(taken.is_err() || taken.is_ok_and(|taken| taken <= bytes.len()));
        }
    }

    /// RFC 9112, section 7.1.3.
    #[test]
    fn the_data_of_a_chunked_body_is_found_however_it_is_cut() {
        let body = b"3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nHTTP/1.1 200 OK";
        for size in 1..body.len() {
            let (mut end, mut data, mut taken) = (chunked(), Vec::new(), 0);
            for mut piece in body.chunks(size) {
                while !piece.is_empty() && end != BodyEnd::Reached {
                    let (skip, run) = end.data(piece).unwrap();
                    data.extend_from_slice(&piece[skip..skip + run]);
                    taken += skip + run;
                    piece = &piece[skip + run..];
                }
            }
            assert_eq!(data, b"abc0123456789", "pieces of {size}");
            assert_eq!(&body[taken..], b"HTTP/1.1 200 OK", "pieces of {size}");
        }
        assert_eq!(chunked().data(b"x\r\n"), Err(Malformed));
    }
}
