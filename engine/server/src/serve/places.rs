//! Places of connections. There are so many; one that says nothing gives its place up, and when all are taken one makes
//! room for whoever comes: nobody can lock others out by holding connections.
//!
//! A connection holds its place while a request over it has one of its key's places: each key has so many of those, and
//! none for long without an end in sight. All else gives way, whether it runs or not: first what no key ever asked over.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use crate::access::Permit;

/// How long a new connection waits before it looks again for one that can give way.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All places of a server.
pub(super) struct Places {
    connections_max: usize,
    taken: Mutex<Vec<Arc<Connection>>>,
    left: Notify,
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    pub(super) connection: Arc<Connection>,
}

/// What is known of one connection.
pub(super) struct Connection {
    /// Its requests' places among those of their keys, as long as they have them.
    permits: Mutex<Vec<Weak<Permit>>>,
    /// Whether a key ever asked over it.
    is_known: AtomicBool,
    /// When its last request began, or more of an answer left; none before its first.
    stirred: Mutex<Option<Instant>>,
    came: Instant,
    give_way: Notify,
}

impl Places {
    pub(super) fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, taken: Mutex::default(), left: Notify::new() })
    }

    /// A place for a new connection, once there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            {
                let mut taken = self.taken();
                if taken.len() < self.connections_max {
                    let connection = Arc::new(Connection {
                        permits: Mutex::default(),
                        is_known: AtomicBool::new(false),
                        stirred: Mutex::default(),
                        came: Instant::now(),
                        give_way: Notify::new(),
                    });
                    taken.push(Arc::clone(&connection));
                    return Place { places: Arc::clone(self), connection };
                }
                let yielding = taken.iter().filter(|connection| !connection.holds_its_place());
                if let Some(first) = yielding.min_by_key(|it| (it.is_known(), it.rests_since())) {
                    first.give_way.notify_one();
                }
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().retain(|connection| !Arc::ptr_eq(connection, &self.connection));
        self.places.left.notify_one();
    }
}

impl Connection {
    /// Returns when somebody else is to have its place.
    pub(super) async fn told_to_give_way(&self) {
        loop {
            self.give_way.notified().await;
            // It may have begun to ask meanwhile; whoever waits looks again.
            if !self.holds_its_place() {
                return;
            }
        }
    }

    /// Returns when it has asked nothing for so long since it came; never, where it has asked in time.
    pub(super) async fn said_nothing_for(&self, patience: Duration) {
        tokio::time::sleep(patience).await;
        if self.stirred().is_some() {
            std::future::pending::<()>().await;
        }
    }

    /// A key that is known here asks.
    pub(super) fn asked_by_key(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    /// A request over it has one of its key's places.
    pub(super) fn admitted(&self, permit: &Arc<Permit>) {
        let mut permits = self.permits();
        permits.retain(|permit| permit.strong_count() > 0);
        permits.push(Arc::downgrade(permit));
    }

    fn holds_its_place(&self) -> bool {
        self.permits().iter().any(|permit| permit.strong_count() > 0)
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    fn permits(&self) -> MutexGuard<'_, Vec<Weak<Permit>>> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests_since(&self) -> Instant {
        self.stirred().unwrap_or(self.came)
    }

    fn stirred(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stirred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self) {
        *self.stirred() = Some(Instant::now());
    }
}

/// Notes when a request of a connection comes, and when more of its answer leaves; and says over which it came.
pub(super) async fn note(State(connection): State<Arc<Connection>>, mut request: Request, next: Next) -> Response {
    let stirring = Stirring::new(Arc::clone(&connection));
    request.extensions_mut().insert(connection);
    next.run(request).await.map(|body| {
        stirring.0.stir();
        Body::new(Noted { body, stirring })
    })
}

/// One request that runs.
struct Stirring(Arc<Connection>);

impl Stirring {
    fn new(connection: Arc<Connection>) -> Self {
        connection.stir();
        Self(connection)
    }
}

impl Drop for Stirring {
    fn drop(&mut self) {
        self.0.stir();
    }
}

/// An answer's body, and what it keeps alive.
struct Noted {
    body: Body,
    stirring: Stirring,
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.stirring.0.stir();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
