//! A section as a value of the author's type, by serde.
//!
//! A deserializer of our own, because what a variable says becomes what the field is: `8080` is a number for a field that is
//! one, and a password for one that is a string. And because of the errors, see `error`.

use std::borrow::Cow;
use std::collections::btree_map;
use std::slice;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Number;

use super::error::Refusal;
use super::place::{Step, normal};
use super::{Table, Value};

/// One value.
pub(super) struct Node<'a>(pub(super) &'a Value);

impl Node<'_> {
    fn number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Refusal> {
        if let Some(number) = number.as_u64() {
            visitor.visit_u64(number)
        } else if let Some(number) = number.as_i64() {
            visitor.visit_i64(number)
        } else {
            visitor.visit_f64(number.as_f64().unwrap_or_default())
        }
    }

    /// A whole number, also one that a variable says.
    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Value::Variable(text) = self.0 else {
            return self.deserialize_any(visitor);
        };
        if let Ok(number) = text.trim().parse::<u64>() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.trim().parse::<i64>() {
            visitor.visit_i64(number)
        } else {
            Err(Refusal::invalid_type(Unexpected::Str(text), &visitor))
        }
    }

    fn fraction<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Value::Variable(text) = self.0 else {
            return self.deserialize_any(visitor);
        };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            Ok(_) | Err(_) => Err(Refusal::invalid_type(Unexpected::Str(text), &visitor)),
        }
    }

    /// What is in an array, also in one that a variable says: with commas between.
    fn items(&self) -> Option<Cow<'_, [Value]>> {
        match self.0 {
            Value::List(items) => Some(items.into()),
            Value::Variable(text) => {
                let texts = text.split(',').map(str::trim);
                let texts = texts.filter(|text| !text.is_empty());
                Some(texts.map(|text| Value::Variable(text.to_owned())).collect())
            }
            Value::Text(_) | Value::Number(_) | Value::Switch(_) | Value::Table(_) => None,
        }
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.items() {
            Some(items) => visitor.visit_seq(Items::new(&items)),
            None => self.deserialize_any(visitor),
        }
    }

    fn tuple<'de, V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refusal> {
        match self.items().map(|items| items.len()) {
            Some(found) if found != length => Err(Refusal::invalid_length(found, &visitor)),
            Some(_) | None => self.list(visitor),
        }
    }
}

macro_rules! deserialize_as {
    ($how:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.$how(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Text(text) | Value::Variable(text) => visitor.visit_str(text),
            Value::Number(number) => Self::number(number, visitor),
            Value::Switch(on) => visitor.visit_bool(*on),
            Value::List(items) => visitor.visit_seq(Items::new(items)),
            Value::Table(table) => visitor.visit_map(Entries::new(table, None)),
        }
    }

    deserialize_as! {
        whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
               deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }
    deserialize_as! { fraction: deserialize_f32 deserialize_f64 }
    deserialize_as! { list: deserialize_seq }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let Value::Variable(text) = self.0 else {
            return self.deserialize_any(visitor);
        };
        match text.trim() {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(Refusal::invalid_type(Unexpected::Str(text), &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Table(table) => visitor.visit_map(Entries::new(table, Some(fields))),
            Value::Text(_)
            | Value::Number(_)
            | Value::Switch(_)
            | Value::List(_)
            | Value::Variable(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Text(text) | Value::Variable(text) => {
                visitor.visit_enum(StrDeserializer::new(text))
            }
            Value::Table(table) if table.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries::new(table, None)))
            }
            Value::Number(_) | Value::Switch(_) | Value::List(_) | Value::Table(_) => {
                Err(Refusal::unknown_variant("", variants))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct map identifier ignored_any
    }
}

/// What is in a table.
struct Entries<'a> {
    rest: btree_map::Iter<'a, String, Value>,
    /// The names that there are, for a struct.
    fields: Option<&'static [&'static str]>,
    /// Whose value is next.
    current: Option<(&'a str, &'a Value)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Table, fields: Option<&'static [&'static str]>) -> Self {
        Self {
            rest: table.iter(),
            fields,
            current: None,
        }
    }

    /// The name as the type has it.
    fn name(&self, written: &'a str) -> Result<&'a str, Refusal> {
        let Some(fields) = self.fields else {
            return Ok(written);
        };
        let same = fields.iter().find(|field| **field == written);
        let alike = || {
            let written = normal(written);
            fields.iter().find(|field| normal(field) == written)
        };
        same.or_else(alike)
            .copied()
            .ok_or_else(|| Refusal::unknown(written, fields))
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        let Some((written, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.current = Some((written, value));
        // As what a variable says, so that it may be a number, too.
        let name = Value::Variable(self.name(written)?.to_owned());
        seed.deserialize(Node(&name))
            .map(Some)
            .map_err(|refusal| refusal.named(written))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let Some((written, value)) = self.current.take() else {
            return Err(Refusal::custom("a value was asked for before its key"));
        };
        seed.deserialize(Node(value))
            .map_err(|refusal| refusal.under(Step::Name(written.to_owned())))
    }
}

/// What is in an array.
struct Items<'a> {
    rest: slice::Iter<'a, Value>,
    next: usize,
}

impl<'a> Items<'a> {
    fn new(items: &'a [Value]) -> Self {
        Self {
            rest: items.iter(),
            next: 0,
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        let Some(item) = self.rest.next() else {
            return Ok(None);
        };
        let number = self.next;
        self.next += 1;
        seed.deserialize(Node(item))
            .map(Some)
            .map_err(|refusal| refusal.under(Step::Item(number)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
