//! A response as a client of a story sees it, the same over HTTP/1.1 and HTTP/2.

use crate::body::Body;
use crate::wire::Head;

/// A response that was read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Informational responses (1xx) that came before.
    pub interim: Vec<u16>,
    /// The head as received. Over HTTP/2 made from the fields.
    pub head: Head,
    /// The body.
    pub body: Body,
}

impl Response {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.value(name)
    }

    /// The values of all headers of this name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head.values(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        self.body.text()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none; the text shows the body.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body.kept) {
            Ok(value) => value,
            Err(error) => panic!("{} is not JSON ({error}): {}", self.status, self.text()),
        }
    }

    /// Fails the story unless the response has this status; shows the body if it has not.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head.start, self.text());
        self
    }

    /// Fails the story unless this is a problem document (RFC 9457) of this status and kind; answers with it.
    #[track_caller]
    pub fn problem(self, status: u16, slug: &str) -> serde_json::Value {
        let response = self.expect(status);
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{}", response.text());
        let problem = response.json();
        assert_eq!(problem["type"], format!("urn:sallyport:problem:{slug}"));
        assert_eq!(problem["status"], status);
        for member in ["title", "detail", "instance"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "no `{member}` in {problem}"
            );
        }
        problem
    }

    /// What an origin's [`Answer::echo`](crate::Answer::echo) says of a header: every value it received.
    pub fn echoed(&self, name: &str) -> Vec<String> {
        let echo = self.json();
        let fields = echo["headers"].as_array().expect("an echo of the origin");
        let same =
            |field: &&serde_json::Value| field[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name));
        fields.iter().filter(same).map(|field| field[1].as_str().unwrap_or_default().to_owned()).collect()
    }
}
