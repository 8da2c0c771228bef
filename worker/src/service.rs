//! From a request on a connection to the router and back, counted.
//!
//! This is on the path of every request, so nothing here allocates or boxes: the future and the body are
//! wrapped in place. The only shared writes are the two of the gauges, and the only lock is that of the
//! connection's own [desk](crate::desk), which nobody else wants.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::future::RouteFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service as _;

use crate::client::ClientInfo;
use crate::desk::Ticket;
use crate::tracker::{Connection, Phase};

/// The router as one connection sees it.
#[derive(Debug)]
pub(crate) struct Service {
    router: Router,
    connection: Arc<Connection>,
    /// To be told to handlers. Telling costs an allocation for each request, so it has to be asked for.
    client: Option<ClientInfo>,
}

impl Service {
    pub(crate) const fn new(
        router: Router,
        connection: Arc<Connection>,
        client: Option<ClientInfo>,
    ) -> Self {
        Self {
            router,
            connection,
            client,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Counted<Body>>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, request: Request<Incoming>) -> Responding {
        let connection = &self.connection;
        let http1 = request.version() < Version::HTTP_2;
        if !http1 {
            connection.set_h2();
        } else if request.method() == Method::CONNECT {
            connection.set_upgraded();
        }
        let in_flight = InFlight::begin(Arc::clone(connection), &request, http1);
        // The empty body is the one body that axum makes without an allocation.
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                connection.request_over();
                Body::empty()
            } else if http1 {
                Body::new(Upload::new(body, Arc::clone(connection)))
            } else {
                Body::new(body)
            }
        });
        if let Some(client) = &self.client {
            client.attach_to(request.extensions_mut());
        }
        Responding {
            // The clone is one reference count; a call needs `&mut`.
            route: self.router.clone().call(request),
            in_flight: Some(in_flight),
            http1,
        }
    }
}

pin_project! {
    /// A request that the router is answering.
    pub(crate) struct Responding {
        #[pin]
        route: RouteFuture<Infallible>,
        in_flight: Option<InFlight>,
        http1: bool,
    }
}

impl Future for Responding {
    type Output = Result<Response<Counted<Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.route.poll(cx));
        let in_flight = this.in_flight.take();
        if *this.http1
            && let Some(in_flight) = &in_flight
        {
            in_flight.finish_head(&mut response);
        }
        Poll::Ready(Ok(response.map(|body| Counted { body, in_flight })))
    }
}

/// One request, from its header to the end of its response.
#[derive(Debug)]
struct InFlight {
    connection: Arc<Connection>,
    /// What it is known by, where there may be others beside it.
    ticket: Option<Ticket>,
}

impl InFlight {
    fn begin<B>(connection: Arc<Connection>, request: &Request<B>, http1: bool) -> Self {
        connection.request_begun();
        let (method, path) = (request.method(), request.uri().path());
        let ticket = if http1 {
            connection.desk().replace(method, path);
            None
        } else {
            Some(connection.desk().add(method, path))
        };
        Self { connection, ticket }
    }

    /// What only HTTP/1 needs: the last response says that it is the last, and an upgraded connection is
    /// about to leave the server's hands.
    fn finish_head(&self, response: &mut Response<Body>) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.set_upgraded();
        } else if self.connection.phase() > Phase::Serving || self.connection.is_spent() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.connection.desk().remove(ticket);
        }
        self.connection.request_ended();
    }
}

/// The body of an HTTP/1 request, which says when it has been read or given up.
#[derive(Debug)]
struct Upload {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Upload {
    const fn new(body: Incoming, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.connection.request_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.connection.request_over();
    }
}

/// A response body whose request is in flight until it has ended or is dropped.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    in_flight: Option<InFlight>,
}

impl<B: http_body::Body + Unpin> http_body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.in_flight = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
