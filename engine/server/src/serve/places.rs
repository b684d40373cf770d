//! Places of connections. There are so many; one that says nothing gives its place up, and when all are taken the one
//! that has rested longest makes room for whoever comes: nobody can lock others out by holding connections.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

/// How long a new connection waits before it looks again for one that rests.
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
    /// Requests whose answers are not yet whole.
    running: AtomicUsize,
    /// When its last request began or ended; none before its first.
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
                        running: AtomicUsize::new(0),
                        stirred: Mutex::default(),
                        came: Instant::now(),
                        give_way: Notify::new(),
                    });
                    taken.push(Arc::clone(&connection));
                    return Place { places: Arc::clone(self), connection };
                }
                let resting = taken.iter().filter(|connection| connection.running.load(Ordering::Acquire) == 0);
                if let Some(longest) = resting.min_by_key(|connection| connection.rests_since()) {
                    longest.give_way.notify_one();
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
            if self.running.load(Ordering::Acquire) == 0 {
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

/// Counts a request of its connection until the last byte of its answer has left.
pub(super) async fn hold(State(connection): State<Arc<Connection>>, request: Request, next: Next) -> Response {
    let running = Running::new(connection);
    next.run(request).await.map(|body| Body::new(Held { body, _running: running }))
}

/// One request that runs.
struct Running(Arc<Connection>);

impl Running {
    fn new(connection: Arc<Connection>) -> Self {
        connection.running.fetch_add(1, Ordering::AcqRel);
        connection.stir();
        Self(connection)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stir();
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer's body, and what it keeps alive.
struct Held {
    body: Body,
    _running: Running,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
