//! PASV, EPSV, PORT, EPRT: where the next data connection comes from (RFC 959, RFC 2428).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::passive::{self, Way};
use super::reply::Reply;
use super::session::Session;

/// Below are the ports of well-known services, which a bounced connection would be aimed at (RFC 2577 section 3).
const LOWEST_ACTIVE_PORT: u16 = 1_024;

impl Session {
    pub(super) async fn pasv(&mut self) -> Result<Reply, Reply> {
        self.other_than_epsv()?;
        let IpAddr::V4(own) = self.own else {
            return Err(Reply::new(425, "PASV is for IPv4 only; use EPSV"));
        };
        // Behind a proxy the client knows another address than this socket has.
        let known = match self.local.ip() {
            IpAddr::V4(known) => known,
            IpAddr::V6(_) => own,
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
        let own = if self.own.is_ipv4() { "1" } else { "2" };
        if !asked.is_empty() && asked != own {
            return Err(Reply::new(522, format!("This connection has one network protocol only, use ({own})")));
        }
        let port = self.listen().await?;
        Ok(Reply::new(229, format!("Entering Extended Passive Mode (|||{port}|)")))
    }

    async fn listen(&mut self) -> Result<u16, Reply> {
        // The port of a PASV that was never used goes back first.
        self.state.way = None;
        let range = self.engine.config.passive_ports;
        let bound: std::io::Result<(TcpListener, u16)> = async {
            let listener = passive::listen(self.own, range).await?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        }
        .await;
        match bound {
            Ok((listener, port)) => {
                self.state.way = Some(Way::Passive(listener));
                let patience = Duration::from_secs(self.engine.limits.data_connect_seconds);
                self.state.way_until = Some(Instant::now() + patience);
                Ok(port)
            }
            Err(error) => {
                tracing::warn!(%error, first = range.first, last = range.last, "no passive port");
                Err(Reply::new(425, "All passive ports are in use; try again in a moment"))
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
        let address = passive::parse_eprt(text)
            .ok_or_else(|| Reply::new(501, "EPRT takes |1|IPv4 address|port| or |2|IPv6 address|port|"))?;
        self.active(address)
    }

    /// Only to where the control connection comes from: anything else would make this server a tool against others.
    fn active(&mut self, address: SocketAddr) -> Result<Reply, Reply> {
        if !self.engine.config.active {
            return Err(Reply::new(502, "Active mode is switched off here; use EPSV or PASV"));
        }
        if address.ip().to_canonical() != self.peer.ip() {
            return Err(Reply::new(501, "The data connection must go to the address that you come from"));
        }
        if address.port() < LOWEST_ACTIVE_PORT {
            return Err(Reply::new(501, "The port must be 1024 or higher"));
        }
        self.state.way_until = None;
        self.state.way = Some(Way::Active(SocketAddr::new(self.peer.ip(), address.port())));
        Ok(Reply::new(200, "Active mode"))
    }

    fn other_than_epsv(&self) -> Result<(), Reply> {
        if self.state.only_epsv {
            return Err(Reply::new(503, "EPSV ALL was said; only EPSV is possible now"));
        }
        Ok(())
    }
}
