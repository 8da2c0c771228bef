//! What a handler may know of the client at the other end of its connection.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use http::Extensions;

use crate::stream::Socket;

/// Who is at the other end of a connection, for axum's `ConnectInfo` extractor.
///
/// Handlers get it when [`Worker::connect_info`](crate::Worker::connect_info) says so. Where the client has an
/// IP address, `ConnectInfo<SocketAddr>` works as well; over a unix socket there is none, and that extractor
/// refuses the request with status 500.
///
/// Cheap to clone: a request's copy is a reference to its connection's.
///
/// ```
/// use axum::extract::ConnectInfo;
/// use axum::{Router, routing::get};
/// use hatchery_worker::{BoxError, ClientInfo, Worker, WorkerContext};
///
/// struct Web;
///
/// async fn whence(ConnectInfo(client): ConnectInfo<ClientInfo>) -> String {
///     match client.address() {
///         Some(address) => format!("you come from {address}\n"),
///         None => "you come from this host\n".to_owned(),
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Worker for Web {
///     async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
///         Ok(Router::new().route("/", get(whence)))
///     }
///
///     fn connect_info(&self) -> bool {
///         true
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo(Arc<Known>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    listener: Option<Arc<str>>,
    address: Option<SocketAddr>,
    local_address: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    tls: Option<TlsInfo>,
}

/// What a client and the server agreed upon before they began to speak HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsInfo {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) resumed: bool,
}

impl ClientInfo {
    pub(crate) fn of(socket: &impl Socket, listener: Option<&Arc<str>>) -> Self {
        Self(Arc::new(Known {
            listener: listener.cloned(),
            address: socket.peer_address(),
            local_address: socket.local_address(),
            proxy: None,
            tls: None,
        }))
    }

    /// A proxy speaks for a client of its own.
    pub(crate) fn set_proxied(&mut self, source: SocketAddr, destination: SocketAddr) {
        let known = Arc::make_mut(&mut self.0);
        known.proxy = known.address.replace(source);
        known.local_address = Some(destination);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, tls: TlsInfo) {
        Arc::make_mut(&mut self.0).tls = Some(tls);
    }

    /// The client's address: the one that the PROXY protocol told, or the other end of the socket. `None` for
    /// a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// The address that the client connected to: with the PROXY protocol, the proxy's.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.0.local_address
    }

    /// The other end of the socket, if that is a proxy which told the client's address (PROXY protocol).
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.0.proxy
    }

    /// What the operator calls the listener (`name=` of its address).
    pub fn listener(&self) -> Option<&str> {
        self.0.listener.as_deref()
    }

    /// What was agreed upon by TLS. `None` if the connection does not speak it.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.tls.as_ref()
    }

    /// Puts itself where axum's extractor looks.
    pub(crate) fn attach_to(&self, extensions: &mut Extensions) {
        extensions.insert(ConnectInfo(self.clone()));
        if let Some(address) = self.0.address {
            extensions.insert(ConnectInfo(address));
        }
    }
}

impl TlsInfo {
    /// The host that the client asked for (SNI).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol that both chose (ALPN): `h2` or `http/1.1`; `None` if the client did not ask.
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref()
    }

    /// The version of TLS: `TLSv1_2` or `TLSv1_3`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether the client came back with a session ticket, on whichever worker it had been before.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}
