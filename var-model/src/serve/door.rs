//! Where the server listens, and whom it lets in.
//!
//! On the loopback device, everybody on this machine can come in. On any other address, only those who know the token: it
//! is part of the address that the program prints.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// Bytes of a token.
const TOKEN: usize = 24;

/// An address that the server listens on.
#[derive(Debug)]
pub(super) struct Place {
    listener: TcpListener,
    address: SocketAddr,
    /// As the user wrote it, in lower case; an IPv6 address in brackets.
    host: String,
    token: Option<String>,
}

/// Decides by the headers of a request whether it is let in.
#[derive(Debug)]
pub(super) struct Door {
    /// Values of the header `Host`, in lower case.
    hosts: Vec<String>,
    /// Whether `Host` may be any address of a machine with this port: the server listens on all of them. A name is still
    /// refused, because anybody can let a name mean this machine.
    any_address: bool,
    port: u16,
    token: Option<String>,
}

impl Place {
    /// Listens on `host`, an address or a name, and `port` (0: any free one).
    ///
    /// # Errors
    /// When the name is unknown, the port is taken or not allowed, or the system gives no random numbers for the token.
    pub(super) fn bind(host: &str, port: u16) -> Result<Self> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let failed = |e| Error::io(format!("{host}, port {port}"), e);
        let addresses: Vec<SocketAddr> = (bare, port).to_socket_addrs().map_err(failed)?.collect();
        let listener = TcpListener::bind(addresses.as_slice()).map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => Error::Config(format!(
                "port {port} of {host} is in use, perhaps by another studio; give --port 0 for a free one"
            )),
            _ => failed(e),
        })?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token = if address.ip().is_loopback() { None } else { Some(random_token()?) };
        Ok(Self { listener, address, host: written(bare), token })
    }

    /// The address of the page, with the token.
    pub(super) fn url(&self) -> String {
        let host = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => HERE.0,
            IpAddr::V6(ip) if ip.is_unspecified() => HERE.1,
            _ => &self.host,
        };
        let token = self.token.as_ref().map(|token| format!("?token={token}")).unwrap_or_default();
        format!("http://{host}:{}/{token}", self.address.port())
    }

    /// What a user should know about the address.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.token.is_some() {
            notes.push(
                "other machines can reach the address below, over a connection that is not encrypted; whoever knows its \
                 token can use the model"
                    .into(),
            );
        }
        if self.address.ip().is_unspecified() {
            notes.push(
                "from another machine, use the address of this one instead of the loopback address".into(),
            );
        }
        notes
    }

    /// The listener, and who may come in.
    pub(super) fn split(self) -> (TcpListener, Door) {
        let port = self.address.port();
        let mut hosts = Vec::new();
        for host in ["localhost", HERE.0, HERE.1, &self.host] {
            hosts.push(format!("{host}:{port}"));
            if port == 80 {
                hosts.push(host.to_owned());
            }
        }
        let any_address = self.address.ip().is_unspecified();
        (self.listener, Door { hosts, any_address, port, token: self.token })
    }
}

/// The loopback addresses, as a browser writes them.
const HERE: (&str, &str) = ("127.0.0.1", "[::1]");

/// `host` as a browser writes it.
fn written(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_lowercase(),
    }
}

/// A random token, in hexadecimal.
fn random_token() -> Result<String> {
    let mut bytes = [0; TOKEN];
    getrandom::fill(&mut bytes).map_err(|e| Error::Check(format!("no random numbers for a token: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Door {
    /// Whether the header `Host` names this server.
    pub(super) fn knows_host(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        let address = || host.parse::<SocketAddr>().is_ok_and(|address| address.port() == self.port);
        self.hosts.contains(&host) || self.any_address && address()
    }

    /// Whether the header `Origin` is that of the page on this server.
    pub(super) fn knows_origin(&self, origin: &str) -> bool {
        origin.strip_prefix("http://").is_some_and(|host| self.knows_host(host))
    }

    /// Whether a token is needed.
    pub(super) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether `given` is the token. Takes the same time for each wrong one.
    pub(super) fn opens(&self, given: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.as_bytes().ct_eq(given.as_bytes()).into())
    }

    /// Name of the cookie with the token. Cookies of all ports of a machine go to each of them.
    pub(super) fn cookie(&self) -> String {
        format!("var-studio-{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(host: &str, any_address: bool) -> Door {
        let hosts = vec![format!("{host}:8217"), "localhost:8217".into()];
        Door { hosts, any_address, port: 8217, token: Some("abc".into()) }
    }

    #[test]
    fn only_names_of_this_server_are_let_in() {
        let named = door("studio.example", false);
        assert!(named.knows_host("Studio.example:8217") && named.knows_origin("http://localhost:8217"));
        for foreign in ["studio.example", "localhost:80", "evil.example:8217", "10.0.0.7:8217", ""] {
            assert!(!named.knows_host(foreign), "{foreign}");
        }
        for foreign in
            ["null", "https://localhost:8217", "http://localhost:8217.evil.example", "localhost:8217"]
        {
            assert!(!named.knows_origin(foreign), "{foreign}");
        }
        let all = door("0.0.0.0", true);
        assert!(all.knows_host("10.0.0.7:8217") && all.knows_host("[fe80::1]:8217"));
        assert!(!all.knows_host("10.0.0.7:80") && !all.knows_host("rebound.example:8217"));
    }

    #[test]
    fn only_the_whole_token_opens() {
        let door = door("x", false);
        assert!(door.opens("abc"));
        assert!(!door.opens("ab") && !door.opens("abcd") && !door.opens("") && !door.opens("abd"));
        assert_ne!(random_token().unwrap(), random_token().unwrap());
    }

    #[test]
    fn other_addresses_than_loopback_need_a_token() {
        let place = Place::bind("127.0.0.1", 0).unwrap();
        assert_eq!(place.url(), format!("http://127.0.0.1:{}/", place.address.port()));
        let place = Place::bind("0.0.0.0", 0).unwrap();
        assert!(place.url().starts_with("http://127.0.0.1:") && place.url().contains("/?token="));
    }
}
