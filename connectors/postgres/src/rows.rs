//! Batches as `COPY … (FORMAT binary)` data, a bounded piece at a time.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use bytes::{BufMut, Bytes, BytesMut};
use tidemill_engine::sink::{Reaction, SinkError};

use crate::catalog::Plan;
use crate::encode::Column;
use crate::keys::Keyed;

/// The piece that is sent at once: what a row adds beyond it is one row.
const PIECE: usize = 256 << 10;

const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TAIL: i16 = -1;

/// A batch on its way, row after row.
pub(crate) struct Rows<'p> {
    plan: &'p Plan,
    columns: Vec<(FieldRef, ArrayRef)>,
    /// For upserts: which rows delete.
    deletes: Option<BooleanArray>,
    /// The place of the first row in its window.
    first: u64,
    next: usize,
    count: usize,
}

impl<'p> Rows<'p> {
    /// The rows of a batch under the plan's schema.
    pub(crate) fn new(
        plan: &'p Plan,
        batch: &RecordBatch,
        keyed: Option<Keyed>,
        first: u64,
    ) -> Result<Self, SinkError> {
        let (keys, deletes) = match keyed {
            Some(keyed) => (keyed.columns, Some(keyed.deletes)),
            None => (Vec::new(), None),
        };
        let mut columns = Vec::with_capacity(plan.columns.len());
        for (i, column) in plan.columns.iter().enumerate() {
            let replaced = keys.iter().find(|(at, _)| *at == i).map(|(_, array)| array.clone());
            let array = replaced.unwrap_or_else(|| batch.column(column.source).clone());
            let plain = match array.data_type() {
                DataType::Dictionary(_, value) => cast(&array, value)
                    .map_err(|e| SinkError::bug(format!("{}.{}: {e}", plan.table, column.field.name())))?,
                _ => array,
            };
            columns.push((column.field.clone(), plain));
        }
        Ok(Self { plan, columns, deletes, first, next: 0, count: batch.num_rows() })
    }

    /// The next piece; `None` when all rows are out. A piece may hold many rows or one large one.
    pub(crate) fn next(&mut self, out: &mut BytesMut) -> Result<Option<Bytes>, SinkError> {
        if self.next > self.count {
            return Ok(None);
        }
        if self.next == 0 {
            out.put_slice(HEAD);
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((field, array), plan) in self.columns.iter().zip(&self.plan.columns) {
            let Some(column) = Column::new(field, array.as_ref(), &plan.kind) else {
                let (table, name) = (&self.plan.table, field.name());
                let message = format!("{table}.{name}: rows came as {} and the plan was another", array.data_type());
                return Err(SinkError::bug(message));
            };
            columns.push(column);
        }
        let extra = if self.deletes.is_some() { 2 } else { 0 };
        let fields = i16::try_from(columns.len() + extra).map_err(|_| SinkError::person("more than 1600 columns"))?;
        while self.next < self.count && out.len() < PIECE {
            out.put_i16(fields);
            for (column, plan) in columns.iter_mut().zip(&self.plan.columns) {
                column.put(self.next, out).map_err(|why| {
                    let message = format!("{}.{}: a value {why}", self.plan.table, plan.field.name());
                    SinkError::new(Reaction::BadRow, message)
                })?;
            }
            if let Some(deletes) = &self.deletes {
                out.put_i32(8);
                out.put_i64(i64::try_from(self.first + self.next as u64).unwrap_or(i64::MAX));
                out.put_i32(1);
                out.put_u8(u8::from(deletes.value(self.next)));
            }
            self.next += 1;
        }
        if self.next == self.count && out.len() < PIECE {
            out.put_i16(TAIL);
            self.next += 1;
        }
        Ok(Some(out.split().freeze()))
    }
}
