//! Runs of bytes that need no look each: the inside of strings, and indentation. Eight bytes at a time in registers, more
//! where the compiler makes vector code of a plain loop.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
/// How many bytes of a long string are looked at together.
const BLOCK: usize = 32;

/// Where the next byte stands, from `at` on, that ends or interrupts a run inside a string: a quotation mark, a reverse
/// solidus or a control character (RFC 8259, section 7). The length of the text if there is none.
#[inline]
pub(super) fn plain(text: &[u8], at: usize) -> usize {
    let mut at = at;
    // Most names and many values end within these bytes.
    for _ in 0..2 {
        let Some(word) = word(text, at) else { return plain_tail(text, at) };
        let hit = special(word);
        if hit != 0 {
            return at + first(hit);
        }
        at += 8;
    }
    plain_long(text, at)
}

#[inline(never)]
fn plain_long(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        // No early exit: this becomes a few vector instructions.
        if block.iter().fold(false, |any, &byte| any | (byte == b'"') | (byte == b'\\') | (byte < b' ')) {
            break;
        }
        at += BLOCK;
    }
    while let Some(word) = word(text, at) {
        let hit = special(word);
        if hit != 0 {
            return at + first(hit);
        }
        at += 8;
    }
    plain_tail(text, at)
}

fn plain_tail(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | ..b' ')).unwrap_or(rest.len())
}

/// Where the next byte stands, from `at` on, that is no blank (RFC 8259, section 2).
#[inline]
pub(super) fn blanks(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b' ' | b'\n' | b'\t' | b'\r') => blanks_long(text, at + 1),
        _ => at,
    }
}

fn blanks_long(text: &[u8], mut at: usize) -> usize {
    while word(text, at).is_some_and(|word| word == ONES * 0x20) {
        at += 8;
    }
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Where the next byte stands, from `at` on, that is no digit.
///
/// One by one: most numbers are short, and looking at eight at once costs more than it saves.
#[inline(always)]
pub(super) fn digits(text: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    at
}

#[inline]
fn word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The highest bit of each byte that is `"`, `\` or below 0x20; above the first such byte there may be more bits than
/// that. Bytes above 0x7f are none: their own highest bit takes them out.
#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let solidus = word ^ (ONES * 0x5c);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let solidus = solidus.wrapping_sub(ONES) & !solidus;
    (quote | solidus | control) & HIGHS
}

#[inline]
fn first(hit: u64) -> usize {
    (hit.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(text: &[u8], at: usize) -> usize {
        (at..text.len()).find(|&at| matches!(text[at], b'"' | b'\\' | 0..=0x1f)).unwrap_or(text.len())
    }

    #[test]
    fn every_byte_is_told_at_every_place() {
        for length in [0, 1, 7, 8, 9, 16, 17, 31, 47, 48, 49, 80, 100] {
            for byte in 0..=255u8 {
                for place in 0..length {
                    let mut text = vec![b'x'; length];
                    text[place] = byte;
                    assert_eq!(plain(&text, 0), one_by_one(&text, 0), "{byte} at {place} of {length}");
                    text.iter_mut().filter(|byte| **byte == b'x').for_each(|byte| *byte = b'0');
                    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(length);
                    assert_eq!(digits(&text, 0), end, "{byte} at {place} of {length}");
                }
            }
            assert_eq!(plain(&vec![b'x'; length], 0), length);
        }
    }

    proptest! {
        #[test]
        fn runs_end_where_looking_at_each_byte_ends_them(
            text in prop::collection::vec(prop_oneof![8 => 0x20..=255u8, 1 => any::<u8>(), 6 => Just(b' ')], 0..120),
            at in 0usize..60,
        ) {
            let at = at.min(text.len());
            prop_assert_eq!(plain(&text, at), one_by_one(&text, at));
            let blank = |at: &usize| !b" \n\t\r".contains(&text[*at]);
            prop_assert_eq!(blanks(&text, at), (at..text.len()).find(blank).unwrap_or(text.len()));
        }
    }
}
