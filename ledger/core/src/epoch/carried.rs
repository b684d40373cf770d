//! What one epoch hands to the next, and its bytes: whoever closes epochs keeps them between two closes.

use crate::cbor::{Decoder, Encoder};
use crate::epoch::account::Account;
use crate::epoch::pace::Pace;
use crate::error::Error;
use crate::record::field::Field;

/// What one epoch hands to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Accounts that wait, with what is in them.
    pub waiting: Vec<(Account, u128)>,
    /// Which policy was in force at which step.
    pub pace: Pace,
}

impl Carried {
    /// Its bytes. They are nobody's but the writer's: an auditor comes to the same by settling from the beginning.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(64 * self.waiting.len() + 256);
        e.array(2).array(self.waiting.len());
        for (account, amount_nano) in &self.waiting {
            e.array(2).bytes(&account.encode());
            amount_nano.put(&mut e);
        }
        self.pace.put(&mut e);
        e.finish()
    }

    /// Reads it strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut d = Decoder::new(bytes);
        d.array_of(2)?;
        let mut waiting = Vec::new();
        for _ in 0..d.array()? {
            d.array_of(2)?;
            waiting.push((Account::decode(&d.bytes_of()?)?, u128::take(&mut d)?));
        }
        let pace = Pace::take(&mut d)?;
        d.finish()?;
        Ok(Self { waiting, pace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Boot, Entry};
    use crate::hash::Hash;
    use crate::record::Lane;

    #[test]
    fn what_is_carried_comes_back() {
        let subject = Hash([7; 32]);
        let mut accounts = vec![
            Account::Contributor(subject),
            Account::LineageAdapter(subject),
            Account::LineageData(subject),
            Account::Sources(subject),
            Account::Revision(subject),
            Account::Subsidies,
        ];
        accounts.extend(Lane::ALL.iter().copied().map(Account::Lane));
        let mut carried =
            Carried { waiting: accounts.into_iter().zip(1_u128 << 70..).collect(), pace: Pace::default() };
        let boot = Boot {
            engine: [1; 16],
            boot: [2; 16],
            previous: None,
            time_ms: 5,
            base: subject,
            build: subject,
            config: subject,
        };
        carried.pace.follow(&[], &Entry::Boot(boot));
        assert_eq!(Carried::decode(&carried.encode()), Ok(carried.clone()));
        let mut longer = carried.encode();
        longer.push(0);
        assert!(Carried::decode(&longer).is_err());
        assert_eq!(Carried::decode(&Carried::default().encode()), Ok(Carried::default()));
    }
}
