//! Types on both sides: what a column of Postgres takes, and which column a new table gets for an Arrow type.

use arrow::datatypes::DataType;

/// What a column takes, as far as its binary form goes. A domain is what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// With its declared scale, where it has one.
    Numeric(Option<i32>),
    /// `text`, `varchar`, `char`, `citext`, an enum: the bytes of a string.
    Text,
    Json,
    Jsonb,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    /// An array, with the oid of its elements' type.
    Array(Box<Kind>, u32),
    /// Nothing we can write.
    Other,
}

/// A type as the catalog describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described<'a> {
    /// `pg_type.typname` of the base type.
    pub name: &'a str,
    /// `pg_type.typtype` of the base type: `b`, `e`, …
    pub typtype: i8,
    /// The modifier of the column.
    pub typmod: i32,
    /// The oid of the elements, for arrays.
    pub element_oid: u32,
    /// `pg_type.typname` of the elements.
    pub element: Option<&'a str>,
}

impl Kind {
    pub(crate) fn of(t: &Described<'_>) -> Self {
        if let Some(element) = t.element {
            // The base name of an array of type t is _t; other types have elements too (point, name).
            if t.name.strip_prefix('_') == Some(element) {
                return match Self::named(element, t.typmod) {
                    Self::Other => Self::Other,
                    kind => Self::Array(Box::new(kind), t.element_oid),
                };
            }
        }
        if t.typtype == b'e' as i8 { Self::Text } else { Self::named(t.name, t.typmod) }
    }

    fn named(name: &str, typmod: i32) -> Self {
        match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            // The low 11 bits are the scale, signed.
            "numeric" => Self::Numeric((typmod >= 4).then(|| (((typmod - 4) & 0x7ff) ^ 0x400) - 0x400)),
            "text" | "varchar" | "bpchar" | "name" | "citext" => Self::Text,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            _ => Self::Other,
        }
    }
}

/// The column type that a new table gets for rows of this type; `None`: there is none, cast it in SQL.
pub(crate) fn column_type(of: &DataType) -> Option<String> {
    Some(match of {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            if *s < 0 {
                "numeric".into()
            } else {
                format!("numeric({p},{s})")
            }
        }
        DataType::Struct(_) | DataType::Map(_, _) => "jsonb".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            match column_type(item.data_type())?.as_str() {
                // Postgres' arrays of arrays are rectangles, lists of lists are not.
                inner if inner.ends_with("[]") || inner == "jsonb" => "jsonb".into(),
                inner => format!("{inner}[]"),
            }
        }
        DataType::Dictionary(_, value) => return column_type(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use std::sync::Arc;

    #[test]
    fn lists_are_arrays_where_arrays_can_hold_them() {
        let list = |inner| DataType::List(Arc::new(Field::new("item", inner, true)));
        assert_eq!(column_type(&list(DataType::Utf8)).as_deref(), Some("text[]"));
        assert_eq!(column_type(&list(list(DataType::Utf8))).as_deref(), Some("jsonb"));
        assert_eq!(column_type(&list(DataType::Struct(arrow::datatypes::Fields::empty()))).as_deref(), Some("jsonb"));
        assert_eq!(column_type(&DataType::Decimal128(10, 2)).as_deref(), Some("numeric(10,2)"));
    }

    #[test]
    fn catalog_types_are_recognised() {
        let of = |name, typtype: u8, typmod, element| {
            Kind::of(&Described { name, typtype: typtype as i8, typmod, element_oid: 25, element })
        };
        assert_eq!(of("numeric", b'b', ((10 << 16) | 2) + 4, None), Kind::Numeric(Some(2)));
        assert_eq!(of("numeric", b'b', -1, None), Kind::Numeric(None));
        assert_eq!(of("numeric", b'b', ((3 << 16) | 0x7fe) + 4, None), Kind::Numeric(Some(-2)));
        assert_eq!(of("_text", b'b', -1, Some("text")), Kind::Array(Box::new(Kind::Text), 25));
        assert_eq!(of("mood", b'e', -1, None), Kind::Text);
        assert_eq!(of("point", b'b', -1, Some("float8")), Kind::Other);
        assert_eq!(of("name", b'b', -1, Some("char")), Kind::Text);
    }
}
