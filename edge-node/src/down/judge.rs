//! Whether a document can be applied.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wattle_policy_host::Host;
use wattle_policy_host::sign::{self, SignError};
use wattle_process::sealed;
use wattle_site::Control;
use wattle_wire::document::{Document, PolicyOrder};

use super::folder::Folder;
use super::kept::Deployment;
use crate::policy::{OFF, Source, Unusable, Version};

/// How often a component is tried that the machine was too busy for, and the first pause, which doubles.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Why a document isn't applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// It can't be, as it is.
    Refused(String),
    /// The machine couldn't look at it or keep it; the same document may be applied later.
    Failed(String),
}

impl No {
    /// Why.
    pub fn why(&self) -> &str {
        let (Self::Refused(why) | Self::Failed(why)) = self;
        why
    }
}

/// What was found right.
pub struct Judged {
    /// Where the version comes from.
    pub source: Source,
    /// It.
    pub version: Version,
    /// The SHA-256 of its component, hexadecimal.
    pub sha256: String,
    /// Its own settings, if the document has some.
    pub settings: Option<String>,
    /// The key that has signed it.
    pub signed_by: Option<String>,
}

/// Who looks.
pub struct Judge<'a> {
    /// The runtime, with the keys that are trusted.
    pub host: &'a Host,
    /// Where components are kept.
    pub folder: &'a Folder,
    /// What the site file says.
    pub control: &'a Control,
}

impl Judge<'_> {
    /// Looks at a policy, and leaves its component on the disk.
    pub fn policy(&self, document: &Document, order: &PolicyOrder) -> Result<Judged, No> {
        self.is_on()?;
        let sha256 = sealed::hex(&Sha256::digest(&document.body));
        if !document.head.sha256.eq_ignore_ascii_case(&sha256) {
            let told = &document.head.sha256;
            return Err(No::Refused(format!(
                "the component's SHA-256 is {sha256}, and the document says {told:?}; it was changed on its way"
            )));
        }
        let unkept = |error: std::io::Error| No::Failed(format!("the component can't be kept: {error}"));
        let tried = self.folder.try_signature(&sha256, &order.signature).map_err(unkept)?;
        self.admit(&tried, &document.body)?;
        let path = self.folder.add(&sha256, &document.body, &order.signature).map_err(unkept)?;
        let settings = order.settings.as_ref().map(ToString::to_string);
        let source = self.source(&path, settings.as_deref());
        let version = self.version(&source, &document.body, No::Refused)?;
        let signed_by = if order.signature.is_empty() { Ok(None) } else { sign::signed_by(&path) };
        let signed_by = signed_by.map_err(|error| No::Refused(error.to_string()))?.map(|key| key.to_string());
        Ok(Judged { source, version, sha256, settings, signed_by })
    }

    /// Loads what stands already.
    ///
    /// # Errors
    /// Why it can't decide any more.
    pub fn standing(&self, deployment: &Deployment) -> Result<(Source, Version), No> {
        self.is_on()?;
        let source = self.standing_source(deployment);
        let bytes = crate::policy::read(source.path(), source.most_bytes(self.host));
        let bytes = bytes.map_err(|unusable| No::Failed(unusable.reason))?;
        if sealed::hex(&Sha256::digest(&bytes)) != deployment.sha256 {
            let path = source.path().display();
            return Err(No::Refused(format!("{path} is damaged; deploy {} again", deployment.policy)));
        }
        let version = self.version(&source, &bytes, No::Failed)?;
        Ok((source, version))
    }

    /// Where what stands already comes from.
    pub fn standing_source(&self, deployment: &Deployment) -> Source {
        self.source(&self.folder.component(&deployment.sha256), deployment.settings.as_deref())
    }

    fn source(&self, path: &Path, settings: Option<&str>) -> Source {
        match settings {
            Some(settings) => Source::with_text(path.to_owned(), self.control, settings),
            None => Source::with_settings(path.to_owned(), self.control, &self.control.settings),
        }
    }

    fn is_on(&self) -> Result<(), No> {
        if self.control.policy == OFF {
            let text = "the site file says `policy = \"off\"`: no policy is to decide here";
            return Err(No::Refused(text.into()));
        }
        Ok(())
    }

    fn admit(&self, path: &Path, bytes: &[u8]) -> Result<(), No> {
        self.host.admit(path, bytes).map(drop).map_err(|error| match error {
            SignError::Unsigned(_) => {
                No::Refused("the component is not signed; sign it with `wattle policy sign`".into())
            }
            other => No::Refused(other.to_string()),
        })
    }

    /// Loads a version; `too_late` says why not where the machine was too busy, again and again.
    fn version(&self, source: &Source, bytes: &[u8], too_late: fn(String) -> No) -> Result<Version, No> {
        self.admit(source.path(), bytes)?;
        // Where it is kept says nothing to who has sent it.
        let path = source.path().display().to_string();
        let no = |unusable: Unusable| {
            let reason = unusable.reason.replace(&path, "the component");
            if unusable.may_pass { too_late(reason) } else { No::Refused(reason) }
        };
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match source.version(self.host, bytes) {
                // Nobody waits for this thread but who has sent the document.
                Err(unusable) if unusable.may_pass => std::thread::sleep(pause),
                done => return done.map_err(no),
            }
            pause *= 2;
        }
        source.version(self.host, bytes).map_err(no)
    }
}
