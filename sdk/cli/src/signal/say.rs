//! One signal to a broker, and the answer that comes back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Packet, QoS};
use wattle_wire::signal::{Answer, Signal};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, SiteId, message};

use crate::Usage;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest passwords file that is read, bytes.
const MAX_PASSWORDS_BYTES: u64 = 16 << 20;

/// Whom to speak to, and as whom.
pub(super) struct Login {
    /// host:port
    pub(super) broker: String,
    pub(super) site: SiteId,
    pub(super) system: DeviceId,
    pub(super) password: String,
}

/// The password of a system in a file of lines `system:password`.
pub(super) fn password(file: &Path, system: &DeviceId) -> anyhow::Result<String> {
    let wrong = |what: &str| Usage(format!("{}: {what}; name another with --passwords", file.display()));
    let size = std::fs::metadata(file).map_err(|error| wrong(&error.to_string()))?.len();
    if size > MAX_PASSWORDS_BYTES {
        return Err(wrong("is too large for a passwords file").into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error.to_string()))?;
    let found = text.lines().find_map(|line| line.trim().strip_prefix(system.as_str())?.strip_prefix(':'));
    Ok(found.ok_or_else(|| wrong(&format!("has no line {system}:PASSWORD")))?.to_owned())
}

/// Says it, and waits until the edge has answered.
pub(super) async fn say(login: &Login, signal: Signal) -> anyhow::Result<Answer> {
    let (host, port) = login
        .broker
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| Usage(format!("--broker {}: give host:port", login.broker)))?;
    let id = format!("{:x}", fresh_id());
    let mut options = MqttOptions::new(format!("{}@{id}", login.system), host, port);
    options.set_credentials(login.system.as_str(), login.password.as_str());
    let (client, mut connection) = AsyncClient::new(options, 8);
    let topic = |channel| topic::topic(&login.site, &login.system, channel);
    client.subscribe(topic(Channel::Answer), QoS::AtMostOnce).await.context("can't subscribe")?;
    let payload = message::encode(&Signal { id: Some(id.clone()), ..signal });
    let answered = async {
        loop {
            match connection.poll().await {
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    let published =
                        client.publish(topic(Channel::Signal), QoS::AtLeastOnce, false, payload.clone());
                    published.await.context("can't publish")?;
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let answer: Answer =
                        message::decode(&publish.payload).context("an answer of another shape")?;
                    if answer.id.as_ref() == Some(&id) {
                        return Ok(answer);
                    }
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    bail!("the broker at {} refuses the login {}: {code:?}", login.broker, login.system)
                }
                Err(error) => bail!("no connection to the broker at {}: {error}", login.broker),
            }
        }
    };
    let late = || {
        format!(
            "no answer in {} s; is wattle-edge running, has it a site {}, and is {} one of its [[systems]]?",
            TIMEOUT.as_secs(),
            login.site,
            login.system
        )
    };
    tokio::time::timeout(TIMEOUT, answered).await.with_context(late)?
}

/// No two signals of a login have one: the time and the process.
fn fresh_id() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() << 32 | u128::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("passwords");
        std::fs::write(&file, lines).expect("writable");
        let found = password(&file, &"ems".parse().expect("name")).map_err(|error| error.to_string());
        match expected {
            Ok(password) => assert_eq!(found.as_deref(), Ok(password)),
            Err(part) => assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{found:?}"),
        }
    }

    #[test]
    fn the_password_of_a_login_is_found_by_its_whole_name() {
        check("ems-2:no\n# ems:no\nems:a:b\n", Ok("a:b"));
        check("ems-2:no\n", Err("has no line ems:PASSWORD"));
        let missing = password(Path::new("/nowhere"), &"ems".parse().expect("name"));
        assert!(missing.is_err_and(|error| error.is::<Usage>() && error.to_string().contains("--passwords")));
    }
}
