//! PASV, EPSV, PORT, EPRT: where the next data connection comes from (RFC 959, RFC 2428).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::passive::{self, BadEprt, Passive, Rightful, Way};
use super::reply::Reply;
use super::session::Session;

/// Below are the ports of well-known services, which a bounced connection would be aimed at (RFC 2577 section 3).
const LOWEST_ACTIVE_PORT: u16 = 1_024;

impl Session {
    pub(super) async fn pasv(&mut self) -> Result<Reply, Reply> {
        self.other_than_epsv()?;
        // Behind a proxy the client knows another address than this socket has.
        let IpAddr::V4(known) = self.local.ip() else {
            return Err(Reply::new(425, "PASV is for IPv4 only; use EPSV"));
        };
        let engine = self.engine.clone();
        let Some(told) = engine.shared.lookup.address(&engine.config.passive_host, known).await else {
            tracing::error!("passive_host has no IPv4 address that can be looked up");
            return Err(Reply::new(425, "The server's own address is not known right now; use EPSV"));
        };
        let port = self.listen().await?;
        Ok(Reply::new(227, format!("Entering Passive Mode {}", passive::format_pasv(told, port))))
    }

    pub(super) async fn epsv(&mut self, text: &str) -> Result<Reply, Reply> {
        let asked = text.trim();
        if asked.eq_ignore_ascii_case("ALL") {
            self.state.only_epsv = true;
            return Ok(Reply::new(200, "Only EPSV from now on"));
        }
        if !asked.is_empty() && asked != self.network_protocol() {
            return Err(self.other_network_protocol());
        }
        let port = self.listen().await?;
        Ok(Reply::new(229, format!("Entering Extended Passive Mode (|||{port}|)")))
    }

    /// RFC 2428 section 2, as the client sees its connection.
    fn network_protocol(&self) -> &'static str {
        if self.local.is_ipv4() { "1" } else { "2" }
    }

    fn other_network_protocol(&self) -> Reply {
        let own = self.network_protocol();
        Reply::new(522, format!("This connection has one network protocol only, use ({own})"))
    }

    async fn listen(&mut self) -> Result<u16, Reply> {
        // The port of a PASV that was never used goes back first.
        (self.state.way, self.state.way_until) = (None, None);
        let config = &self.engine.config;
        let range = config.passive_ports;
        let rightful = Rightful {
            only_from: config.data_peer_check.then_some(self.peer.ip()),
            proxies: config.proxy_protocol.clone(),
        };
        match Passive::open(self.own, range, rightful, &self.engine.shared.ports).await {
            Ok((passive, port)) => {
                self.state.way = Some(Way::Passive(Box::new(passive)));
                let patience = Duration::from_secs(self.engine.limits.data_connect_seconds);
                self.state.way_until = Some(Instant::now() + patience);
                Ok(port)
            }
            Err(error) => {
                tracing::warn!(%error, first = range.first, last = range.last, "no passive port");
                let sentence = match error.kind() {
                    ErrorKind::AddrInUse => "All passive ports are in use; try again in a moment",
                    _ => "No passive port could be opened; try again in a moment",
                };
                Err(Reply::new(425, sentence))
            }
        }
    }

    pub(super) fn port(&mut self, text: &str) -> Result<Reply, Reply> {
        self.other_than_epsv()?;
        let address = passive::parse_port(text).ok_or_else(|| Reply::new(501, "PORT takes h1,h2,h3,h4,p1,p2"))?;
        self.active(address)
    }

    pub(super) fn eprt(&mut self, text: &str) -> Result<Reply, Reply> {
        self.other_than_epsv()?;
        let address = passive::parse_eprt(text).map_err(|error| match error {
            BadEprt::Form => Reply::new(501, "EPRT takes |1|IPv4 address|port| or |2|IPv6 address|port|"),
            BadEprt::Family => self.other_network_protocol(),
        })?;
        self.active(address)
    }

    /// Only to where the control connection comes from: anything else would make this server a tool against others.
    fn active(&mut self, address: SocketAddr) -> Result<Reply, Reply> {
        let config = &self.engine.config;
        if !config.active {
            return Err(Reply::new(502, "Active mode is switched off here; use EPSV or PASV"));
        }
        if address.is_ipv4() != self.peer.is_ipv4() {
            return Err(self.other_network_protocol());
        }
        if address.ip() != self.peer.ip() {
            return Err(Reply::new(501, "The data connection must go to the address that you come from"));
        }
        if address.port() < LOWEST_ACTIVE_PORT {
            return Err(Reply::new(501, "The port must be 1024 or higher"));
        }
        // A proxy that did not say whom it brings is not where the client waits.
        if config.is_proxy(self.peer.ip()) {
            return Err(Reply::new(501, "The address that you come from is a proxy's; use EPSV or PASV"));
        }
        // The peer's own, with its scope where the address has one.
        let mut target = self.peer;
        target.set_port(address.port());
        if self.engine.shared.ports.lead_home(target) {
            return Err(Reply::new(501, "That is a port of this server"));
        }
        self.state.way_until = None;
        self.state.way = Some(Way::Active(target));
        Ok(Reply::new(200, "Active mode"))
    }

    fn other_than_epsv(&self) -> Result<(), Reply> {
        if self.state.only_epsv {
            return Err(Reply::new(503, "EPSV ALL was said; only EPSV is possible now"));
        }
        Ok(())
    }
}
