//! The broker's own sockets, found to switch Nagle's algorithm off.
//!
//! rumqttd leaves it on and gives nobody its sockets. With it a setpoint that follows another message to the same
//! charger, most often the broker's own acknowledgement of a reading, waits until the charger's system has confirmed that
//! one: 40 ms where the charger has nothing to say meanwhile, longer over a slow radio. On Linux a connection begins with
//! the options of the socket that listened for it, so it is enough to find that one among the files that this process has
//! open, and to set it before anybody connects.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;

/// Switches Nagle's algorithm off for whoever connects to `address` of this process from now on, and for who has already. Gives
/// false when nothing of this process has that address yet.
///
/// # Errors
/// When the system doesn't say which files are open, or doesn't let the option be set.
pub fn send_at_once(address: SocketAddr) -> io::Result<bool> {
    let mut found = false;
    for socket in sockets()?.filter(|socket| socket.local_addr().is_ok_and(|local| local == address)) {
        socket.set_nodelay(true)?;
        found = true;
    }
    Ok(found)
}

/// A second handle to each socket of this process, of which only options and addresses are to be used: it may be any kind.
fn sockets() -> io::Result<impl Iterator<Item = TcpStream>> {
    let open = std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| {
        let is_socket =
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str()?.parse().ok()?;
        is_socket.then_some(number)
    });
    Ok(open.filter_map(|number| {
        // SAFETY: it is only duplicated, at once. Where somebody closes it meanwhile that fails, or duplicates what has
        // its number now, which the address tells apart.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        borrowed.try_clone_to_owned().ok().map(TcpStream::from)
    }))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_connects_afterwards_and_who_has_connected_before_gets_everything_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("bound");
        let connect = || {
            let client = TcpStream::connect(address).expect("listens");
            (client, listener.accept().expect("connected").0)
        };
        let before = connect();
        assert!(!before.1.nodelay().expect("open"));
        assert!(send_at_once(address).expect("Linux"));
        let after = connect();
        assert!(before.1.nodelay().expect("open") && after.1.nodelay().expect("open"));
        assert!(!after.0.nodelay().expect("open"), "the other end is none of ours");
    }

    #[test]
    fn an_address_at_which_nobody_listens_is_not_found() {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free port");
        assert!(!send_at_once(address).expect("Linux"));
    }
}
