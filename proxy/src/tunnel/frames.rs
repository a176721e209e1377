//! Where WebSocket frames end (RFC 6455, section 5.2). Only their heads are looked at; payloads pass as they are,
//! compressed or not.

/// A place in one direction's stream of frames.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// Bytes of the payload that are missing, or the part of the length that is known.
    length: u64,
    /// Bytes of the length or of the masking key that are missing.
    missing: u8,
    step: Step,
    masked: bool,
    closing: bool,
    closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Before a frame.
    #[default]
    Opcode,
    /// At the byte with the mask's bit and the length's first 7.
    Length,
    /// In the 2 or 8 further bytes of the length.
    Extended,
    /// In the masking key.
    Mask,
    /// In the payload.
    Payload,
}

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;

impl Frames {
    /// Before the first frame.
    pub(super) fn new() -> Self {
        Frames::default()
    }

    /// Whether a frame of ours may go here. A control frame may stand between the fragments of a message (section 5.4).
    pub(super) fn between(&self) -> bool {
        self.step == Step::Opcode
    }

    /// Whether a Close frame went by: nothing may follow it (section 5.5.1).
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Takes note of bytes that pass.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.finish_frame(rest);
            rest = &rest[taken..];
        }
    }

    /// Takes note of bytes up to the end of the frame under way; the answer is how many these are.
    pub(super) fn finish_frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.step == Step::Payload {
                let left = usize::try_from(self.length).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len() - at);
                self.length -= taken as u64;
                at += taken;
            } else {
                self.head(bytes[at]);
                at += 1;
            }
            if self.step == Step::Payload && self.length == 0 {
                self.closed |= self.closing;
                self.step = Step::Opcode;
                break;
            }
        }
        at
    }

    fn head(&mut self, byte: u8) {
        match self.step {
            Step::Opcode => {
                self.closing = byte & OPCODE == CLOSE;
                self.step = Step::Length;
            }
            Step::Length => {
                self.masked = byte & MASKED != 0;
                (self.length, self.missing) = match byte & !MASKED {
                    126 => (0, 2),
                    127 => (0, 8),
                    length => (u64::from(length), 0),
                };
                self.step = Step::Extended;
                self.behind_length();
            }
            Step::Extended => {
                self.length = self.length << 8 | u64::from(byte);
                self.missing -= 1;
                self.behind_length();
            }
            Step::Mask => {
                self.missing -= 1;
                if self.missing == 0 {
                    self.step = Step::Payload;
                }
            }
            Step::Payload => {}
        }
    }

    fn behind_length(&mut self) {
        if self.missing == 0 {
            (self.step, self.missing) = if self.masked { (Step::Mask, 4) } else { (Step::Payload, 0) };
        }
    }
}

/// A Close frame with this code, as a server sends it (section 5.5.1).
pub(super) fn close_of_server(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

/// The same as a client sends it: masked with a key that nobody can foresee (section 5.3).
pub(super) fn close_of_client(code: u16, key: [u8; 4]) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    [0x88, MASKED | 2, key[0], key[1], key[2], key[3], high ^ key[0], low ^ key[1]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let mask = if masked { MASKED } else { 0 };
        match payload.len() {
            length @ 0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            length @ 126..65536 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[1, 2, 3, 4]);
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn every_length_has_its_end() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
                let frame = frame(2, &vec![0x88; length], masked);
                let mut frames = Frames::new();
                for (index, byte) in frame.iter().enumerate() {
                    frames.pass(std::slice::from_ref(byte));
                    assert_eq!(frames.between(), index + 1 == frame.len(), "{length} at {index}");
                }
                assert!(!frames.closed(), "a payload that looks like a Close frame is none");
            }
        }
    }

    #[test]
    fn the_close_frame_is_seen_when_it_is_whole() {
        let mut frames = Frames::new();
        frames.pass(&frame(1, b"text", false));
        let close = close_of_server(1001);
        frames.pass(&close[..3]);
        assert!(!frames.closed());
        frames.pass(&close[3..]);
        assert!(frames.closed() && frames.between());
        let mut frames = Frames::new();
        frames.pass(&frame(8, b"", true));
        assert!(frames.closed(), "without a code");
    }

    #[test]
    fn ours_are_what_the_rfc_says() {
        assert_eq!(close_of_server(1001), [0x88, 0x02, 0x03, 0xe9]);
        let masked = close_of_client(1001, [0xff, 0x0f, 7, 9]);
        assert_eq!(masked, [0x88, 0x82, 0xff, 0x0f, 7, 9, 0xfc, 0xe6]);
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_ends_are_the_same(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..8),
            cuts in prop::collection::vec(1_usize..64, 1..16),
        ) {
            let frames: Vec<Vec<u8>> =
                payloads.iter().map(|(payload, masked)| frame(2, payload, *masked)).collect();
            let bytes = frames.concat();
            let mut ends = Vec::new();
            let (mut state, mut at, mut cut) = (Frames::new(), 0, cuts.iter().cycle());
            while at < bytes.len() {
                let until = bytes.len().min(at + cut.next().unwrap());
                while at < until {
                    at += state.finish_frame(&bytes[at..until]);
                    if state.between() {
                        ends.push(at);
                    }
                }
            }
            let expected: Vec<usize> = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            }).collect();
            prop_assert_eq!(ends, expected);
        }

        #[test]
        fn nonsense_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = Frames::new();
            frames.pass(&bytes);
        }
    }
}
