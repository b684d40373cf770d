//! Deterministic CBOR (RFC 8949, 4.2) in the small subset that entries, rows and receipts use.
//!
//! A hash commits to bytes, so every value has one spelling. [`Encoder`] can write no other, and
//! [`Decoder`] accepts no other: shortest heads, definite lengths, keys in ascending order, nothing after the end.
//! Records are maps whose keys run from 0 without gaps; what may be absent is written as null.

use crate::error::Error;

const UINT: u8 = 0;
const NINT: u8 = 1;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Writes one value after another.
#[derive(Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let wide = value.to_be_bytes();
        match value {
            0..=23 => self.bytes.push(major | wide[7]),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, wide[7]]),
            0x100..=0xffff => {
                self.bytes.push(major | 25);
                self.bytes.extend_from_slice(&wide[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.bytes.push(major | 26);
                self.bytes.extend_from_slice(&wide[4..]);
            }
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&wide);
            }
        }
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value);
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        // CBOR writes a negative n as -1 - n, which is the complement of its two's-complement bits.
        if value < 0 {
            self.head(NINT, !value.cast_unsigned())
        } else {
            self.head(UINT, value.cast_unsigned())
        }
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, items as u64);
        self
    }

    pub(crate) fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(MAP, pairs as u64);
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.bytes.push(if value { TRUE } else { FALSE });
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.push(NULL);
        self
    }
}

/// Reads one value after another, and says by name what is not canonical.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Ends reading: bytes left over are an error.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::CborTrailing { bytes: self.rest.len() }) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        if self.rest.len() < count {
            return Err(Error::CborTruncated);
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), Error> {
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 0x1f);
        let (width, least) = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(Error::CborNotCanonical),
        };
        let mut wide = [0; 8];
        wide[8 - width..].copy_from_slice(self.take(width)?);
        let value = u64::from_be_bytes(wide);
        if value < least {
            return Err(Error::CborNotCanonical);
        }
        Ok((major, value))
    }

    fn head_of(&mut self, major: u8, expected: &'static str) -> Result<u64, Error> {
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(Error::CborType { expected }),
        }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Error> {
        self.head_of(UINT, "an unsigned integer")
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.uint()?).map_err(|_| Error::CborRange)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        u8::try_from(self.uint()?).map_err(|_| Error::CborRange)
    }

    pub(crate) fn int(&mut self) -> Result<i64, Error> {
        let (major, value) = self.head()?;
        let magnitude = i64::try_from(value).map_err(|_| Error::CborRange)?;
        match major {
            UINT => Ok(magnitude),
            NINT => Ok(!magnitude),
            _ => Err(Error::CborType { expected: "an integer" }),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.head_of(BYTES, "a byte string")?;
        self.take(usize::try_from(length).map_err(|_| Error::CborTruncated)?)
    }

    /// A byte string if one is next; otherwise nothing is read.
    pub(crate) fn bytes_if_next(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.rest.first() {
            Some(first) if first >> 5 == BYTES => self.bytes().map(Some),
            _ => Ok(None),
        }
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| Error::CborLength { expected: N, found: bytes.len() })
    }

    pub(crate) fn array(&mut self) -> Result<u64, Error> {
        self.head_of(ARRAY, "an array")
    }

    /// An array of exactly `items` items.
    pub(crate) fn array_of(&mut self, items: u64) -> Result<(), Error> {
        if self.array()? == items { Ok(()) } else { Err(Error::CborRange) }
    }

    /// A map of exactly `pairs` pairs; its keys are then read one by one with [`Self::key`].
    pub(crate) fn map_of(&mut self, pairs: u64) -> Result<(), Error> {
        let found = self.map()?;
        if found == pairs { Ok(()) } else { Err(Error::CborFields { expected: pairs, found }) }
    }

    pub(crate) fn map(&mut self) -> Result<u64, Error> {
        self.head_of(MAP, "a map")
    }

    /// The next key of a map, which must be this one.
    pub(crate) fn key(&mut self, key: u64) -> Result<&mut Self, Error> {
        if self.uint()? == key { Ok(self) } else { Err(Error::CborKey { expected: key }) }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Error> {
        match self.take(1)?[0] {
            FALSE => Ok(false),
            TRUE => Ok(true),
            _ => Err(Error::CborType { expected: "a boolean" }),
        }
    }

    /// Takes a null if one is next.
    pub(crate) fn null(&mut self) -> bool {
        let null = self.rest.first() == Some(&NULL);
        if null {
            self.rest = &self.rest[1..];
        }
        null
    }
}
