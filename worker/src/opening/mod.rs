//! What comes before HTTP on the connections of some listeners: a PROXY protocol header, a TLS handshake.
//!
//! All of it happens within the time for the first header, on a connection that counts from when it was
//! accepted. A listener that asks for neither has no opening, and its connections pass through none of this.

mod proxy;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use hatchery_protocol::boot::ListenerBoot;
use hatchery_protocol::child::BoxError;
use hatchery_protocol::secret::Secret;
use tokio::time::timeout_at;

use crate::ahead::Ahead;
use crate::connection::{Arrival, Http};
use crate::stream::Socket;
#[cfg(feature = "tls")]
use crate::tls::{Parting, Tls};
use crate::tracker::{Connection, Phase, Waiting};

/// How the connections of one listener begin.
#[derive(Debug)]
pub(crate) struct Opening {
    proxy: bool,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Opening {
    /// As the listener's options say; `None` if its connections begin with HTTP. `secret` is what makes session
    /// tickets of one worker readable for the others.
    ///
    /// # Errors
    ///
    /// The certificate cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn new(
        boot: &ListenerBoot,
        secret: Option<&Secret>,
    ) -> Result<Option<Self>, BoxError> {
        let tls = match &boot.tls {
            Some(files) => {
                let secret = secret.ok_or("the master sent no secret for session tickets")?;
                Some(Tls::new(files, secret, &boot.address)?)
            }
            None => None,
        };
        let proxy = boot.proxy_protocol;
        Ok((proxy || tls.is_some()).then_some(Self { proxy, tls }))
    }

    /// As the listener's options say; `None` if its connections begin with HTTP.
    ///
    /// # Errors
    ///
    /// The listener has a certificate, which this build can do nothing with.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(
        boot: &ListenerBoot,
        _secret: Option<&Secret>,
    ) -> Result<Option<Self>, BoxError> {
        if boot.tls.is_some() {
            let address = &boot.address;
            return Err(format!(
                "{address} has a certificate, and this program was built without the feature `tls`"
            )
            .into());
        }
        let proxy = boot.proxy_protocol;
        Ok(proxy.then_some(Self { proxy }))
    }

    /// Brings a connection to the point where HTTP begins, and serves it from there.
    pub(crate) async fn serve<S: Socket>(
        self: Arc<Self>,
        http: Arc<Http>,
        stream: S,
        mut arrival: Arrival,
        router: Router,
    ) {
        let connection = Arc::clone(arrival.guard.connection());
        let deadline = http.opening_deadline(&arrival);
        let mut stream = Ahead::new(stream);
        let opening = async {
            // Whoever has said nothing yet loses nothing when the worker leaves.
            until(Phase::Closing, &connection, stream.read_ahead())
                .await?
                .ok()?;
            until(Phase::Aborted, &connection, self.open(stream, &mut arrival)).await?
        };
        match timeout_at(deadline, opening).await {
            Ok(Some(Opened::Plain(stream))) => http.serve(stream, arrival, router).await,
            #[cfg(feature = "tls")]
            Ok(Some(Opened::Tls(stream))) => http.serve(*stream, arrival, router).await,
            Ok(None) | Err(_) => {}
        }
    }

    async fn open<S: Socket>(
        &self,
        mut stream: Ahead<S>,
        arrival: &mut Arrival,
    ) -> Option<Opened<S>> {
        if self.proxy {
            match proxy::read_header(&mut stream).await {
                Ok(Some(proxied)) => {
                    if let Some(client) = &mut arrival.client {
                        client.set_proxied(proxied.source, proxied.destination);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!("a connection was refused: {error}");
                    stream.get_mut().reset_on_close();
                    return None;
                }
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return match tls.accept(stream).await {
                Ok(stream) => {
                    if let Some(client) = &mut arrival.client {
                        client.set_tls(crate::tls::info(&stream));
                    }
                    let connection = Arc::clone(arrival.guard.connection());
                    Some(Opened::Tls(Box::new(Parting::new(stream, connection))))
                }
                Err(error) => {
                    tracing::debug!("a TLS handshake failed: {error}");
                    None
                }
            };
        }
        Some(Opened::Plain(stream))
    }
}

#[cfg(test)]
impl Opening {
    /// A PROXY protocol header and nothing else.
    pub(crate) const fn proxied() -> Self {
        Self {
            proxy: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// A stream on which HTTP comes next.
enum Opened<S: Socket> {
    Plain(Ahead<S>),
    #[cfg(feature = "tls")]
    Tls(Box<Parting<Ahead<S>>>),
}

/// What `work` comes to, unless the drain reaches `phase` first.
async fn until<F: Future>(phase: Phase, connection: &Connection, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        connection.watch(Waiting::Reader, cx);
        // What has arrived counts, also in the turn in which the phase is reached.
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if connection.phase() >= phase {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
