//! How a record's fields are written: one way for each type, so that a kind of record is the list of its fields.

use crate::cbor::{Decoder, Encoder};
use crate::error::Error;
use crate::hash::Hash;
use crate::text::hex_encode;

/// Items that one list of a record can have; the entry's own limit comes before it for large ones.
pub const LIST_MAX: usize = 1_024;

/// A value that a record can hold.
pub(crate) trait Field: Sized {
    /// Writes it.
    fn put(&self, e: &mut Encoder);

    /// Reads it strictly.
    fn take(d: &mut Decoder<'_>) -> Result<Self, Error>;

    /// Shows it to a person.
    fn words(&self) -> String;
}

/// `RemoveHarmful` as a person reads it: `remove-harmful`.
pub(crate) fn kebab(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (place, letter) in name.char_indices() {
        if place > 0 && letter.is_ascii_uppercase() {
            words.push('-');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

macro_rules! unsigned {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn put(&self, e: &mut Encoder) {
                e.uint((*self).into());
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
                Self::try_from(d.uint()?).map_err(|_| Error::CborRange)
            }

            fn words(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

unsigned!(u8 u16 u32 u64);

impl Field for i64 {
    fn put(&self, e: &mut Encoder) {
        e.int(*self);
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.int()
    }

    fn words(&self) -> String {
        self.to_string()
    }
}

/// Sums of money can pass 64 bits, where CBOR's integers end: 16 bytes, big-endian.
impl Field for u128 {
    fn put(&self, e: &mut Encoder) {
        e.bytes(&self.to_be_bytes());
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(d.bytes_of()?))
    }

    fn words(&self) -> String {
        self.to_string()
    }
}

impl Field for bool {
    fn put(&self, e: &mut Encoder) {
        e.bool(*self);
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.bool()
    }

    fn words(&self) -> String {
        self.to_string()
    }
}

impl Field for Hash {
    fn put(&self, e: &mut Encoder) {
        e.bytes(&self.0);
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(Self(d.bytes_of()?))
    }

    fn words(&self) -> String {
        self.to_hex()
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, e: &mut Encoder) {
        e.bytes(self);
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.bytes_of()
    }

    fn words(&self) -> String {
        hex_encode(self)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, e: &mut Encoder) {
        match self {
            Some(value) => value.put(e),
            None => {
                e.null();
            }
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        if d.null() { Ok(None) } else { T::take(d).map(Some) }
    }

    fn words(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::words)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, e: &mut Encoder) {
        e.array(self.len());
        for item in self {
            item.put(e);
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let count = usize::try_from(d.array()?).map_err(|_| Error::CborRange)?;
        if count > LIST_MAX {
            return Err(Error::RecordList { count });
        }
        (0..count).map(|_| T::take(d)).collect()
    }

    fn words(&self) -> String {
        self.iter().map(T::words).collect::<Vec<_>>().join("; ")
    }
}

/// Whether a list has each item once, in ascending order: a set has one spelling.
pub(crate) fn is_set<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

/// A struct whose fields are a map with the keys 0, 1, 2, ... in the order in which they stand.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::record::field::Field for $name {
            fn put(&self, e: &mut $crate::cbor::Encoder) {
                e.map([$(stringify!($field)),*].len());
                let mut key = 0..;
                $(
                    e.uint(key.next().expect("keys do not end"));
                    $crate::record::field::Field::put(&self.$field, e);
                )*
            }

            fn take(d: &mut $crate::cbor::Decoder<'_>) -> Result<Self, $crate::error::Error> {
                d.map_of([$(stringify!($field)),*].len() as u64)?;
                let mut key = 0..;
                $(let $field = $crate::record::field::Field::take(d.key(key.next().expect("keys do not end"))?)?;)*
                Ok(Self { $($field),* })
            }

            fn words(&self) -> String {
                let fields = self.fields();
                fields.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
            }
        }

        impl $name {
            /// Each field's name, and its value for a person to read.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), $crate::record::field::Field::words(&self.$field))),*]
            }
        }
    )*};
}

/// A small struct that is written as an array: one item of a list.
macro_rules! items {
    ($($(#[$doc:meta])* $name:ident [ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* ])*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::record::field::Field for $name {
            fn put(&self, e: &mut $crate::cbor::Encoder) {
                e.array([$(stringify!($field)),*].len());
                $($crate::record::field::Field::put(&self.$field, e);)*
            }

            fn take(d: &mut $crate::cbor::Decoder<'_>) -> Result<Self, $crate::error::Error> {
                d.array_of([$(stringify!($field)),*].len() as u64)?;
                $(let $field = $crate::record::field::Field::take(d)?;)*
                Ok(Self { $($field),* })
            }

            fn words(&self) -> String {
                [$($crate::record::field::Field::words(&self.$field)),*].join(" ")
            }
        }
    )*};
}

/// An enum that is written as its number; a number without a meaning is refused.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $name {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// How it is written.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// How a person reads and writes it.
            pub fn word(self) -> String {
                $crate::record::field::Field::words(&self)
            }
        }

        impl $crate::record::field::Field for $name {
            fn put(&self, e: &mut $crate::cbor::Encoder) {
                e.uint(self.code().into());
            }

            fn take(d: &mut $crate::cbor::Decoder<'_>) -> Result<Self, $crate::error::Error> {
                match d.uint()? {
                    $($code => Ok(Self::$variant),)*
                    code => Err($crate::error::Error::RecordCode { what: stringify!($name), code }),
                }
            }

            fn words(&self) -> String {
                match self {
                    $(Self::$variant => $crate::record::field::kebab(stringify!($variant)),)*
                }
            }
        }
    )*};
}

pub(crate) use {codes, fields, items};
