//! Documents of the way down: what a fog node, or a person on the local network, hands an edge to apply.
//!
//! # Layout
//! One line of JSON, the [`Head`], a line feed, and the bytes that it is about; for a policy its component. The same bytes are
//! what a person sends (`POST /documents`), what a fog node keeps, and what it hands the edge.
//!
//! ```text
//! {"document":1,"kind":"policy","edge":"edge-1","site":"depot","version":1790000000000000,"sent_by":"anna",
//!  "sha256":"...","policy":{"action":"trial","settings":{"slots":2},"signature":"..."}}\n   (one line)
//! <component>
//! ```
//!
//! Fields that a program doesn't know it passes over, so that a later one may add some. What it must not pass over is another
//! `document` or another `kind`.
//!
//! # Versions
//! A version is given by the node that takes the document from a person: the microseconds of its clock, at least one more than the
//! newest that it knows ([`next_version`]). Of two documents for the same (edge, site, kind) the one with the higher version holds.
//! No clock is right for certain: so what a fog node keeps says `after` which version of the edge's it was sent, and what a person has
//! sent to the edge itself since then holds whatever its version. A document that the edge went past in that way, before it was handed
//! down, gets a version above that, so that the edge hears of it and answers; it says as what it `was` taken.
//!
//! A fog node gives no version above half of [`MAX_VERSION`] but by counting ([`is_given`]), so that there is always room to count on.
//!
//! A rollback says which version it takes back (`takes_back`); where that doesn't stand, nothing is taken back.
//!
//! # Stream
//! An edge fetches its documents by a `DoExchange` of its own ([`FLIGHT_PATH`]). Its first message carries a [`Has`] as
//! `app_metadata`, JSON; a further one follows whenever it has dealt with a document. The fog node's messages carry a [`Piece`] as
//! `app_metadata`, JSON, and bytes of a document as `data_body`, in order. A fog node that doesn't know the path answers `NOT_FOUND`.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{EdgeId, SiteId};

/// The version of the layout.
pub const LAYOUT: u32 = 1;
/// The kind of document that replaces a site's policy.
pub const POLICY: &str = "policy";
/// The path of the Flight descriptor with which an edge asks for its documents.
pub const FLIGHT_PATH: [&str; 3] = ["wattle", "documents", "v1"];
/// The longest head, bytes.
pub const MAX_HEAD_BYTES: usize = 256 << 10;
/// The longest document, bytes.
pub const MAX_BYTES: usize = (64 << 20) + MAX_HEAD_BYTES;
/// The most bytes of a document in one message of the stream.
pub const PIECE_BYTES: usize = 1 << 20;
/// The highest version that is taken; microseconds reach it in 146,000 years, so what is above it can only block the way.
pub const MAX_VERSION: u64 = 1 << 62;
/// The most documents in a row that are counted without the edge's hearing of one.
const MOST_COUNTED: u64 = 1 << 32;
/// The longest kind, name of a sender, or text of a signature, bytes.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What stands before the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`LAYOUT`].
    pub document: u32,
    /// What it is about; this version knows [`POLICY`].
    pub kind: String,
    /// Which edge it is for. A person may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeId>,
    /// Which site it is for.
    pub site: SiteId,
    /// Its version; 0 from a person, since a node gives it.
    #[serde(default)]
    pub version: u64,
    /// The newest version that the edge had dealt with, as far as the fog node knew when it took the document: 0 where it had never
    /// heard of the edge. None from a person, and from a fog node that doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The version that the fog node gave it first, where it was numbered again: the edge had dealt with a newer one from elsewhere
    /// before this one was handed down. None of any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<u64>,
    /// Who has sent it, as the node knows its token; empty from a person.
    #[serde(default)]
    pub sent_by: String,
    /// SHA-256 of the bytes behind the head, hexadecimal.
    pub sha256: String,
    /// What a document of the kind [`POLICY`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyOrder>,
}

/// What is to become of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOrder {
    /// What to do.
    pub action: Action,
    /// The settings, an object; none for those of the site file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    /// The text of the component's signature file; empty where nobody has signed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// Of a rollback: the version of the document that is taken back. None, only to the edge itself, for the one that came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<u64>,
}

/// What to do with a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It decides once it has proven itself beside the active one, for as long as the site file says.
    Trial,
    /// It decides at once.
    Activate,
    /// It decides beside the active one and is never obeyed.
    Shadow,
    /// What was deployed is taken back; there is no component.
    Rollback,
}

impl Action {
    /// As documents and events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Activate => "activate",
            Self::Shadow => "shadow",
            Self::Rollback => "rollback",
        }
    }
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What stands before the bytes.
    pub head: Head,
    /// What it is about.
    pub body: Vec<u8>,
}

/// Why bytes are no document that can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// More than [`MAX_BYTES`].
    #[error("the document has {0} bytes; at most {MAX_BYTES} are taken")]
    TooLong(usize),
    /// No line feed within [`MAX_HEAD_BYTES`].
    #[error("the document has no head: its first {MAX_HEAD_BYTES} bytes hold no line feed")]
    NoHead,
    /// The head is no JSON of that shape.
    #[error("the document's head can't be read: {0}")]
    Head(String),
    /// Another layout.
    #[error("the document has the layout {0}; this version knows {LAYOUT}: update the node")]
    Layout(u32),
    /// Another kind.
    #[error("the document is of the kind {0:?}; this version knows \"{POLICY}\": update the node")]
    Kind(String),
    /// A kind without what it has to say.
    #[error("a document of the kind \"{POLICY}\" needs `policy`")]
    NoOrder,
    /// A version above [`MAX_VERSION`].
    #[error("the version {0} is above {MAX_VERSION}, the highest that is taken")]
    Version(u64),
    /// A text that is longer than [`MAX_TEXT_BYTES`].
    #[error("`{0}` is longer than {MAX_TEXT_BYTES} bytes")]
    LongText(&'static str),
    /// A rollback with a component, or another action without one.
    #[error("{0}")]
    Body(&'static str),
}

impl Document {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.head).expect("a head holds nothing that JSON can't say");
        bytes.reserve_exact(self.body.len() + 1);
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads it. Whether its SHA-256 is right is the caller's to see.
    ///
    /// # Errors
    /// When it is too long, its head can't be read, or it is of a layout or kind that this version doesn't know.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_BYTES {
            return Err(DocumentError::TooLong(bytes.len()));
        }
        let (head, body) = split(bytes)?;
        let read = |error: serde_json::Error| DocumentError::Head(alloc::format!("{error}"));
        // Of another layout or kind the rest may be anything.
        let about: About = serde_json::from_slice(head).map_err(read)?;
        if about.document != LAYOUT {
            return Err(DocumentError::Layout(about.document));
        }
        if about.kind.len() > MAX_TEXT_BYTES {
            return Err(DocumentError::LongText("kind"));
        }
        if about.kind != POLICY {
            return Err(DocumentError::Kind(about.kind));
        }
        let head: Head = serde_json::from_slice(head).map_err(read)?;
        head.check(!body.is_empty())?;
        Ok(Self { head, body: body.to_vec() })
    }

    /// The head of a document that may be of a kind that this version doesn't know, as far as it says whose it is.
    pub fn address(bytes: &[u8]) -> Option<Address> {
        serde_json::from_slice(split(bytes).ok()?.0).ok()
    }
}

/// Whose a document is, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// Its kind.
    pub kind: String,
    /// Which site it is for.
    pub site: SiteId,
    /// Its version.
    #[serde(default)]
    pub version: u64,
}

#[derive(Deserialize)]
struct About {
    document: u32,
    kind: String,
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), DocumentError> {
    let start = bytes.get(..bytes.len().min(MAX_HEAD_BYTES)).unwrap_or_default();
    let end = start.iter().position(|byte| *byte == b'\n').ok_or(DocumentError::NoHead)?;
    let (head, rest) = bytes.split_at(end);
    Ok((head, rest.get(1..).unwrap_or_default()))
}

impl Head {
    fn check(&self, has_body: bool) -> Result<(), DocumentError> {
        let order = self.policy.as_ref().ok_or(DocumentError::NoOrder)?;
        let versions = [Some(self.version), self.after, self.was, order.takes_back];
        if let Some(version) = versions.into_iter().flatten().find(|version| *version > MAX_VERSION) {
            return Err(DocumentError::Version(version));
        }
        for (name, text) in
            [("sent_by", &self.sent_by), ("sha256", &self.sha256), ("signature", &order.signature)]
        {
            if text.len() > MAX_TEXT_BYTES {
                return Err(DocumentError::LongText(name));
            }
        }
        match (order.action, has_body) {
            (Action::Rollback, true) => Err(DocumentError::Body("a rollback has no component")),
            (Action::Rollback, false) => Ok(()),
            _ if order.takes_back.is_some() => {
                Err(DocumentError::Body("only a rollback takes something back"))
            }
            (_, false) => Err(DocumentError::Body("there is no component behind the head")),
            (_, true) if order.settings.as_ref().is_some_and(|settings| !settings.is_object()) => {
                Err(DocumentError::Body("settings are an object"))
            }
            (_, true) => Ok(()),
        }
    }
}

/// The version that a node gives a document: the microseconds of its clock, and more than the newest that it knows. None where that is
/// the highest there is.
pub fn next_version(now_us: u64, newest: u64) -> Option<u64> {
    // A clock that is wrong beyond measure leaves room to count on.
    let version = now_us.min(MAX_VERSION / 2).max(newest.checked_add(1)?);
    (version <= MAX_VERSION).then_some(version)
}

/// Whether a node whose newest version is `newest` may have been handed this one: as high as a clock can make it, or counted up from
/// what is known. What is above only blocks the way.
pub fn is_given(version: u64, newest: u64) -> bool {
    version > 0 && version <= newest.max(MAX_VERSION / 2).saturating_add(MOST_COUNTED).min(MAX_VERSION)
}

/// What an edge has dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Has {
    /// Which edge.
    pub edge: EdgeId,
    /// Each of its sites with the newest version that it has applied or refused; 0 for none.
    pub has: Vec<HasOf>,
}

impl Has {
    /// Whether the versions are such as a node gives.
    ///
    /// # Errors
    /// With the first that is above [`MAX_VERSION`].
    pub fn check(&self) -> Result<(), DocumentError> {
        let absurd = self.has.iter().map(|of| of.version).find(|version| *version > MAX_VERSION);
        absurd.map_or(Ok(()), |version| Err(DocumentError::Version(version)))
    }
}

/// What an edge has dealt with of one site and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasOf {
    /// Which site.
    pub site: SiteId,
    /// Which kind.
    pub kind: String,
    /// The newest version.
    pub version: u64,
}

/// What bytes of a document a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Where in the document they begin; 0 begins a new one.
    pub from: u64,
    /// How many bytes the whole document has.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let settings = serde_json::json!({ "slots": 2 });
        let signature = "s\n".into();
        let order =
            PolicyOrder { action: Action::Trial, settings: Some(settings), signature, takes_back: None };
        let head = Head {
            document: LAYOUT,
            kind: POLICY.into(),
            edge: Some(EdgeId::new("edge-1").expect("name")),
            site: SiteId::new("depot").expect("name"),
            version: 7,
            after: None,
            was: None,
            sent_by: "anna".into(),
            sha256: "ab".into(),
            policy: Some(order),
        };
        Document { head, body: vec![0, b'\n', 1] }
    }

    const RELEASED: &str = concat!(
        r#"{"document":1,"kind":"policy","edge":"edge-1","site":"depot","version":7,"sent_by":"anna","sha256":"ab","#,
        r#""policy":{"action":"trial","settings":{"slots":2},"signature":"s\n"}}"#
    );

    fn bytes(head: &str, body: &[u8]) -> Vec<u8> {
        [head.as_bytes(), b"\n", body].concat()
    }

    #[test]
    fn the_bytes_of_a_document_are_as_released() {
        let released = bytes(RELEASED, &[0, b'\n', 1]);
        assert_eq!(document().encode(), released);
        assert_eq!(Document::decode(&released), Ok(document()));
    }

    #[test]
    fn the_bytes_of_a_rollback_that_was_kept_for_an_edge_are_as_released() {
        let mut rollback = document();
        rollback.body.clear();
        rollback.head.after = Some(6);
        let order = rollback.head.policy.as_mut().expect("an order");
        *order = PolicyOrder {
            action: Action::Rollback,
            settings: None,
            signature: String::new(),
            takes_back: Some(5),
        };
        let released = bytes(
            concat!(
                r#"{"document":1,"kind":"policy","edge":"edge-1","site":"depot","version":7,"after":6,"sent_by":"anna","#,
                r#""sha256":"ab","policy":{"action":"rollback","takes_back":5}}"#
            ),
            b"",
        );
        assert_eq!(rollback.encode(), released);
        assert_eq!(Document::decode(&released), Ok(rollback));
    }

    #[test]
    fn a_version_is_above_what_is_known_and_never_above_the_highest() {
        assert_eq!(next_version(1_000, 7), Some(1_000));
        assert_eq!(next_version(7, 1_000), Some(1_001));
        assert_eq!(next_version(u64::MAX, 7), Some(MAX_VERSION / 2));
        assert_eq!(next_version(u64::MAX, MAX_VERSION - 1), Some(MAX_VERSION));
        for newest in [MAX_VERSION, u64::MAX] {
            assert_eq!(next_version(7, newest), None);
        }
    }

    #[test]
    fn a_version_that_leaves_no_room_to_count_on_is_none_that_a_node_gives() {
        let clocks = MAX_VERSION / 2;
        for (version, newest) in
            [(1, 0), (clocks, 0), (clocks + 5, 7), (clocks + MOST_COUNTED + 5, clocks + 5)]
        {
            assert!(is_given(version, newest), "{version} after {newest}");
        }
        for (version, newest) in [
            (0, 0),
            (clocks + MOST_COUNTED + 1, 7),
            (MAX_VERSION, clocks),
            (MAX_VERSION + 1, MAX_VERSION),
            (u64::MAX, u64::MAX),
        ] {
            assert!(!is_given(version, newest), "{version} after {newest}");
        }
    }

    #[test]
    fn a_document_that_was_numbered_again_says_as_what_it_was_taken() {
        let mut again = document();
        again.head.was = Some(5);
        let text = RELEASED.replace(r#""version":7,"#, r#""version":7,"was":5,"#);
        assert_eq!(again.encode(), bytes(&text, &[0, b'\n', 1]));
        assert_eq!(Document::decode(&again.encode()), Ok(again.clone()));
        again.head.was = Some(MAX_VERSION + 1);
        assert_eq!(Document::decode(&again.encode()), Err(DocumentError::Version(MAX_VERSION + 1)));
    }

    #[test]
    fn what_goes_over_the_stream_is_as_released() {
        let has = Has {
            edge: EdgeId::new("edge-1").expect("name"),
            has: vec![HasOf { site: SiteId::new("depot").expect("name"), kind: POLICY.into(), version: 7 }],
        };
        let text = r#"{"edge":"edge-1","has":[{"site":"depot","kind":"policy","version":7}]}"#;
        assert_eq!(serde_json::to_string(&has).expect("JSON"), text);
        let piece = Piece { from: 1, total: 9 };
        assert_eq!(serde_json::to_string(&piece).expect("JSON"), r#"{"from":1,"total":9}"#);
    }

    #[test]
    fn what_a_person_leaves_out_the_node_fills_in_and_what_is_new_is_passed_over() {
        let text = r#"{"document":1,"kind":"policy","site":"depot","sha256":"","later":[1],"policy":{"action":"rollback"}}"#;
        let read = Document::decode(&bytes(text, b"")).expect("a document").head;
        assert_eq!((read.edge, read.version, read.sent_by.as_str()), (None, 0, ""));
    }

    fn refused(head: &str, body: &[u8], expected: &str) {
        let error = Document::decode(&bytes(head, body)).expect_err(head).to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_no_document_is_told_why() {
        refused("", b"", "can't be read");
        refused("[]", b"", "can't be read");
        refused(r#"{"document":2,"kind":"policy"}"#, b"", "the layout 2; this version knows 1");
        refused(r#"{"document":1,"kind":"allowance","amount":3}"#, b"", "of the kind \"allowance\"");
        refused(r#"{"document":1,"kind":"policy","site":"a b","sha256":""}"#, b"", "can't be read");
        refused(r#"{"document":1,"kind":"policy","site":"depot","sha256":""}"#, b"", "needs `policy`");
        let with = |order: &str| {
            alloc::format!(r#"{{"document":1,"kind":"policy","site":"depot","sha256":"","policy":{order}}}"#)
        };
        refused(&with(r#"{"action":"delete"}"#), b"", "can't be read");
        refused(&with(r#"{"action":"trial"}"#), b"", "no component behind");
        refused(&with(r#"{"action":"rollback"}"#), b"x", "a rollback has no component");
        refused(&with(r#"{"action":"trial","settings":[1]}"#), b"x", "settings are an object");
        refused(&with(r#"{"action":"trial","takes_back":1}"#), b"x", "only a rollback takes something back");
        let absurd = u64::MAX;
        let rollback = alloc::format!(r#"{{"action":"rollback","takes_back":{absurd}}}"#);
        refused(&with(&rollback), b"", "the version 18446744073709551615 is above");
        let version = alloc::format!(
            r#"{{"document":1,"kind":"policy","site":"depot","version":{absurd},"sha256":"","policy":{{"action":"rollback"}}}}"#
        );
        refused(&version, b"", "is above");
        let long = alloc::format!(r#"{{"action":"trial","signature":"{}"}}"#, "x".repeat(2_000));
        refused(&with(&long), b"x", "`signature` is longer");
        assert_eq!(Document::decode(&vec![b' '; MAX_HEAD_BYTES + 1]), Err(DocumentError::NoHead));
        assert_eq!(Document::decode(b"{}"), Err(DocumentError::NoHead));
    }

    #[test]
    fn a_document_of_a_kind_that_is_not_known_says_still_whose_it_is() {
        let head = r#"{"document":1,"kind":"allowance","site":"depot","version":9}"#;
        let address = Document::address(&bytes(head, b"")).expect("an address");
        assert_eq!((address.kind.as_str(), address.version), ("allowance", 9));
    }
}
