//! Patience with the other side of a call: what it holds up, nobody may hold up for ever.

use std::time::{Duration, Instant};

use axum::body::{BodyDataStream, Bytes};
use loam_wire::{Kind, Problem};
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio_stream::StreamExt as _;

/// How long one message may wait until its client's connection takes it.
const READER_PATIENCE: Duration = Duration::from_secs(60);

/// What a refusal of a body that comes too slowly names.
pub(super) const BODY: &str = "body";

/// Says something to a client, which may read slowly, or be gone.
pub(super) async fn say<T>(sender: &mpsc::Sender<T>, message: T) -> Result<(), SendTimeoutError<T>> {
    sender.send_timeout(message, READER_PATIENCE).await
}

/// How long the other side is waited for at most, and how fast that grows back with what goes over: so slow may it be.
const PATIENCE: Duration = Duration::from_secs(30);
const BYTES_A_SECOND_MIN: u32 = 256 << 10;

/// How long is still waited for whoever reads or sends.
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) fn new() -> Self {
        Self(PATIENCE)
    }

    /// The next piece of a body, where it comes in time.
    pub(super) async fn next_piece(&mut self, pieces: &mut BodyDataStream) -> Result<Option<Bytes>, Problem> {
        let began = Instant::now();
        let slow = |_| Problem {
            field: Some(BODY.to_owned()),
            ..Problem::new(Kind::Deadline, "the body came too slowly; send it again, in one go")
        };
        let Some(piece) = tokio::time::timeout(self.left(), pieces.next()).await.map_err(slow)? else {
            return Ok(None);
        };
        let broke = |error| Problem::new(Kind::Invalid, format!("the body broke off: {error}"));
        let piece = piece.map_err(broke)?;
        self.moved(piece.len(), began.elapsed());
        Ok(Some(piece))
    }

    /// As long as that.
    pub(super) fn left(&self) -> Duration {
        self.0
    }

    /// Takes note of what went over, and how long that took.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) {
        let earned = Duration::from_secs(bytes as u64) / BYTES_A_SECOND_MIN;
        // What was read fast is no right to stop for long afterwards.
        self.0 = (self.0.saturating_sub(waited) + earned).min(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1 << 20;

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up() {
        let trickle =
            tokio_stream::iter(std::iter::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(b"{"))));
        let trickle = trickle.throttle(Duration::from_millis(20));
        let mut pieces = axum::body::Body::from_stream(trickle).into_data_stream();
        let (mut patience, began) = (Patience(Duration::from_millis(200)), Instant::now());
        let given_up = loop {
            match patience.next_piece(&mut pieces).await {
                Ok(piece) => assert_eq!(piece.unwrap().len(), 1),
                Err(problem) => break problem,
            }
            assert!(began.elapsed() < Duration::from_secs(10), "each piece came in time, and all of them never will");
        };
        assert_eq!((given_up.kind, given_up.field.as_deref()), (Kind::Deadline, Some(BODY)));
    }

    #[test]
    fn whoever_read_fast_may_not_stop_for_long() {
        let mut patience = Patience::new();
        (0..10_000).for_each(|_| patience.moved(MEBIBYTE, Duration::ZERO));
        assert_eq!(patience.0, PATIENCE);
    }

    #[test]
    fn whoever_reads_too_slowly_is_given_up() {
        let mut patience = Patience::new();
        // A chunk in five seconds is less than a chunk in four.
        (0..40).for_each(|_| patience.moved(MEBIBYTE, Duration::from_secs(5)));
        assert_eq!(patience.0, Duration::from_secs(4), "it has what the last chunk earned");
        let mut patience = Patience::new();
        (0..40).for_each(|_| patience.moved(MEBIBYTE, Duration::from_secs(3)));
        assert_eq!(patience.0, PATIENCE, "a reader that keeps pace stays");
    }
}
