//! Typed access to the columns of a row and of a dead letter, whatever encoding the file chose for them.

use anyhow::{Result, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::records::{Record, Row};

/// The first column of these names, as an array of the type asked for.
pub(super) fn column<A: Array + Clone + 'static>(batch: &RecordBatch, names: &[&str], to: &DataType) -> Result<A> {
    let found = raw(batch, names)?;
    typed(&found, names[0], to)
}

fn raw(batch: &RecordBatch, names: &[&str]) -> Result<ArrayRef> {
    match names.iter().find_map(|name| batch.column_by_name(name)) {
        Some(found) => Ok(found.clone()),
        None => bail!("no column {} among {:?}", names.join(" or "), field_names(batch)),
    }
}

fn field_names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|f| f.name().clone()).collect()
}

fn typed<A: Array + Clone + 'static>(found: &ArrayRef, name: &str, to: &DataType) -> Result<A> {
    let from = found.data_type();
    // Only the encoding may differ, not the kind of type: `"5"` is no int64.
    let same_kind = match to {
        DataType::Utf8 => is_text(from),
        DataType::Binary => matches!(from, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        other => from == other || from.is_nested() && other.is_nested(),
    };
    if !same_kind {
        bail!("column {name} is {from:?}, expected {to:?}");
    }
    match cast(found, to)?.as_any().downcast_ref::<A>() {
        Some(array) => Ok(array.clone()),
        None => bail!("column {name} is {from:?}, expected {to:?}"),
    }
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn some<A: Array, T>(array: &A, i: usize, get: impl FnOnce(&A) -> T) -> Option<T> {
    array.is_valid(i).then(|| get(array))
}

/// The columns of a good record.
pub(super) struct RowColumns {
    event_id: StringArray,
    seq: Int64Array,
    user_id: Int64Array,
    ts: Int64Array,
    kind: StringArray,
    url: StringArray,
    price: Float64Array,
    quantity: Int32Array,
    country: StringArray,
    mobile: BooleanArray,
    amount: Decimal128Array,
    tags: ListArray,
    address: StructArray,
    city: StringArray,
}

impl RowColumns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let text = |name| column::<StringArray>(batch, &[name], &DataType::Utf8);
        let ts = raw(batch, &["ts"])?;
        // Files have milliseconds, as the records; table formats microseconds.
        let per_ms = match ts.data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => 1,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => 1000,
            other => bail!("column ts is {other:?}, expected a timestamp in ms or µs UTC"),
        };
        let ts: Int64Array = cast(&ts, &DataType::Int64)?.as_primitive().clone();
        if ts.iter().flatten().any(|at| at % per_ms != 0) {
            bail!("column ts has parts of a millisecond, which no record has");
        }
        let ts = ts.unary(|at| at / per_ms);
        let list = DataType::List(Field::new("item", DataType::Utf8, true).into());
        let Some(address) = raw(batch, &["address"])?.as_struct_opt().cloned() else {
            bail!("column address is not a struct");
        };
        let Some(city) = address.column_by_name("city") else { bail!("column address has no field city") };
        Ok(Self {
            event_id: text("event_id")?,
            seq: column(batch, &["seq"], &DataType::Int64)?,
            user_id: column(batch, &["user_id"], &DataType::Int64)?,
            ts,
            kind: text("type")?,
            url: text("url")?,
            price: column(batch, &["price"], &DataType::Float64)?,
            quantity: column(batch, &["quantity"], &DataType::Int32)?,
            country: text("country")?,
            mobile: column(batch, &["mobile"], &DataType::Boolean)?,
            amount: column(batch, &["amount"], &DataType::Decimal128(10, 2))?,
            tags: column(batch, &["tags"], &list)?,
            city: typed(city, "address.city", &DataType::Utf8)?,
            address,
        })
    }

    pub(super) fn row(&self, i: usize) -> Row {
        let text = |array: &StringArray| some(array, i, |a| a.value(i).to_owned());
        Row {
            event_id: text(&self.event_id),
            seq: self.seq.value(i),
            user_id: some(&self.user_id, i, |a| a.value(i)),
            ts: some(&self.ts, i, |a| a.value(i)),
            kind: text(&self.kind),
            url: text(&self.url),
            price: some(&self.price, i, |a| a.value(i).to_bits()),
            quantity: some(&self.quantity, i, |a| a.value(i)),
            country: text(&self.country),
            mobile: some(&self.mobile, i, |a| a.value(i)),
            amount: some(&self.amount, i, |a| a.value(i)),
            tags: some(&self.tags, i, |a| {
                a.value(i).as_string::<i32>().iter().map(|tag| tag.map(str::to_owned)).collect()
            }),
            address: some(&self.address, i, |_| text(&self.city)),
        }
    }
}

/// The columns of a dead letter.
pub(super) struct LetterColumns {
    value: BinaryArray,
    key: BinaryArray,
    headers: ListArray,
    stage: StringArray,
    error: StringArray,
}

impl LetterColumns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let headers = raw(batch, &["_headers", "headers"])?;
        let Some(headers) = headers.as_list_opt::<i32>().cloned() else {
            bail!("column headers is {:?}, expected a list", headers.data_type());
        };
        Ok(Self {
            value: column(batch, &["_value", "value"], &DataType::Binary)?,
            key: column(batch, &["_key", "key"], &DataType::Binary)?,
            headers,
            stage: column(batch, &["_stage", "stage"], &DataType::Utf8)?,
            error: column(batch, &["_error", "error"], &DataType::Utf8)?,
        })
    }

    pub(super) fn error(&self, i: usize) -> &str {
        self.error.value(i)
    }

    /// How letter `i` differs from the record that was sent.
    pub(super) fn differs(&self, i: usize, record: &Record) -> Option<String> {
        let bytes = |array: &BinaryArray| some(array, i, |a| a.value(i).to_vec());
        let (value, key) = (bytes(&self.value), bytes(&self.key));
        if value != record.value {
            return Some(format!("value {} instead of {}", shown(value.as_ref()), shown(record.value.as_ref())));
        }
        if key != record.key {
            return Some(format!("key {} instead of {}", shown(key.as_ref()), shown(record.key.as_ref())));
        }
        match self.headers_at(i) {
            Ok(headers) if headers == record.headers => (),
            Ok(headers) => return Some(format!("headers {headers:?} instead of {:?}", record.headers)),
            Err(error) => return Some(format!("{error:#}")),
        }
        if self.stage.value(i) != "decode" {
            return Some(format!("stage {:?} instead of \"decode\"", self.stage.value(i)));
        }
        self.error.value(i).is_empty().then(|| "no error text".to_owned())
    }

    fn headers_at(&self, i: usize) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        if self.headers.is_null(i) {
            return Ok(Vec::new());
        }
        let list = self.headers.value(i);
        let Some(pairs) = list.as_struct_opt() else { bail!("headers are not a list of structs") };
        let [keys, values] = ["key", "value"].map(|name| pairs.column_by_name(name).cloned());
        let (Some(keys), Some(values)) = (keys, values) else { bail!("headers have no key and value") };
        let keys: StringArray = typed(&keys, "headers.key", &DataType::Utf8)?;
        let values: BinaryArray = typed(&values, "headers.value", &DataType::Binary)?;
        let pair = |j: usize| (keys.value(j).to_owned(), some(&values, j, |v| v.value(j).to_vec()));
        Ok((0..pairs.len()).map(pair).collect())
    }
}

fn shown(bytes: Option<&Vec<u8>>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) => {
            let start = &bytes[..bytes.len().min(80)];
            format!("({} bytes) {:?}", bytes.len(), String::from_utf8_lossy(start))
        }
    }
}
