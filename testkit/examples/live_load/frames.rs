//! Frames of a server, as far as a client has to look at them to count them (RFC 6455, section 5.2).

/// Opcode and payload of the first frame in `bytes`, and what it takes in all.
pub(crate) fn first(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&opcode, &short) = (bytes.first()?, bytes.get(1)?);
    let (length, head) = match short {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        length => (usize::from(length), 2),
    };
    let payload = bytes.get(head..head + length)?;
    Some((opcode & 0x0f, payload, head + length))
}

/// The number behind `name` in a text of JSON; nothing is parsed, so that the client can keep up with the server.
pub(crate) fn number_behind(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
