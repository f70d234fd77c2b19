//! Values that are written as strings of a fixed form: durations, sizes, types, addresses, names, times.
//! A type with a form carries its name in the JSON Schema (`x-form`), and the walk checks the string here, so that
//! a fault says exactly what is wrong with it.

pub(crate) mod data_type;
pub(crate) mod duration;
pub(crate) mod identity;
pub(crate) mod listen;
pub(crate) mod size;
pub(crate) mod start;

pub use data_type::{DataType, TimeUnit};
pub use listen::Listen;

/// A form: what a fault says was expected, a value that has the form, and the check (an error says what is wrong).
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) example: &'static str,
    pub(crate) check: fn(&str) -> Result<(), String>,
}

const FORMS: &[Form] = &[
    Form { name: "text", expected: "a string", example: "x", check: |_| Ok(()) },
    Form { name: "property", expected: "a string, an integer or a boolean", example: "x", check: |_| Ok(()) },
    Form {
        name: "duration",
        expected: "a duration such as \"5s\", \"500ms\" or \"1h30m\"",
        example: "1s",
        check: |text| duration::parse(text).map(drop),
    },
    Form {
        name: "size",
        expected: "a size such as \"256MiB\", \"1MB\" or a number of bytes",
        example: "1MiB",
        check: |text| size::parse(text).map(drop),
    },
    Form {
        name: "data_type",
        expected: "a type such as \"int64\", \"timestamp(us)\", \"decimal(10,2)\", \"list<string>\" or \"struct\"",
        example: "string",
        check: |text| DataType::parse(text).map(drop),
    },
    Form {
        name: "start",
        expected: "\"earliest\", \"latest\", \"committed\", an RFC 3339 time such as \"2026-01-31T00:00:00Z\", or a table \
                   of offsets such as { \"topic/0\" = 1000 }",
        example: "earliest",
        check: |text| start::parse(text).map(drop),
    },
    Form {
        name: "until",
        expected: "\"end\", an RFC 3339 time such as \"2026-01-31T00:00:00Z\", or a table of offsets such as \
                   { \"topic/0\" = 1000 }",
        example: "end",
        check: |text| start::parse_until(text).map(drop),
    },
    Form {
        name: "partition",
        expected: "a partition as \"TOPIC/NUMBER\", or with one topic its number",
        example: "0",
        check: |text| start::parse_partition(text).map(drop),
    },
    Form {
        name: "listen",
        expected: "an address such as \"127.0.0.1:9464\", \"localhost:9464\" or \"[::]:9464\"",
        example: "127.0.0.1:0",
        check: |text| listen::parse(text).map(drop),
    },
    Form {
        name: "job_name",
        expected: "a job's name of 1 to 63 characters of a-z, 0-9, _ and -",
        example: "x",
        check: identity::check_job,
    },
    Form {
        name: "group_name",
        expected: "a group's name of 1 to 63 characters of a-z, 0-9, _ and -",
        example: "x",
        check: identity::check_job,
    },
    Form {
        name: "instance",
        expected: "a name of 1 to 63 characters of a-z, A-Z, 0-9, '.', _ and -",
        example: "x",
        check: identity::check_instance,
    },
];

/// The form of this name.
pub(crate) fn find(name: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.name == name)
}

/// Gives a marker type the schema of a string with a form.
macro_rules! form_schema {
    ($(#[$doc:meta])* $type:ident, $schema:tt) => {
        $(#[$doc])*
        pub(crate) struct $type;
        crate::forms::form_schema!(impl $type, $schema);
    };
    (impl $type:ty, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use form_schema;
