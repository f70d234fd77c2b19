//! A configuration with everything that can be checked without starting: types, queries, columns.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_config::{Fault, Loaded};
use tidemill_engine::format::Format;
use tidemill_engine::operator::Operator;

use crate::wire;
use crate::wire::sql::Limits;
use crate::wire::storage::Storages;

/// A configuration that can be run.
pub struct Plan {
    /// The settings.
    pub loaded: Loaded,
    /// Its jobs, by name.
    pub jobs: Vec<PlannedJob>,
}

/// A job whose format and operators exist.
pub struct PlannedJob {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: config::Job,
    /// Its format, cut down to the columns its operators read.
    pub format: Arc<dyn Format>,
    /// Its operators.
    pub operators: Vec<Operator>,
    /// Schema of the rows that reach the sink.
    pub schema: SchemaRef,
    /// The object stores of the configuration.
    pub storages: Storages,
}

impl Plan {
    /// The job of this name; `file` is where the plan comes from, for the message.
    ///
    /// # Errors
    /// When there is none. Names those there are.
    pub fn job(&self, name: &str, file: &Path) -> anyhow::Result<&PlannedJob> {
        self.jobs.iter().find(|job| job.name == name).ok_or_else(|| {
            let known: Vec<_> = self.jobs.iter().map(|job| job.name.as_str()).collect();
            anyhow::anyhow!("no job `{name}` in {}; there are {}", file.display(), known.join(", "))
        })
    }
}

/// Loads and plans a file or folder.
///
/// # Errors
/// All faults there are.
pub fn load(path: &Path) -> Result<Plan, Vec<Fault>> {
    let checked = config::check(path, &config::System);
    let sound = |job: &str| {
        ["source", "format", "operator", "sink"].into_iter().all(|part| checked.is_sound(&format!("job.{job}.{part}")))
    };
    let jobs = plan_jobs(&checked.loaded, checked.faults.clone(), sound, &Limits::default())?;
    Ok(Plan { loaded: checked.loaded, jobs })
}

/// Makes every job of a configuration end at what is there now (`tidemill run --until-end`).
///
/// # Errors
/// A fault for each job that cannot end.
pub fn until_end(loaded: &mut Loaded) -> Result<(), Vec<Fault>> {
    let endless: Vec<String> = loaded
        .config
        .jobs
        .iter_mut()
        .filter_map(|(name, job)| (!wire::source::bound(&mut job.source)).then(|| format!("job.{name}.source")))
        .collect();
    let fault = |key: &String| loaded.fault_at(key, "has no end that --until-end could wait for: give it `records`");
    if endless.is_empty() { Ok(()) } else { Err(endless.iter().map(fault).collect()) }
}

/// Plans a loaded configuration; queries run under `limits`.
///
/// # Errors
/// All faults there are.
pub fn plan(loaded: Loaded, limits: &Limits) -> Result<Plan, Vec<Fault>> {
    let jobs = plan_jobs(&loaded, Vec::new(), |_| true, limits)?;
    Ok(Plan { loaded, jobs })
}

/// Plans the jobs that are sound, and adds what is wrong with them to `faults`.
fn plan_jobs(
    loaded: &Loaded,
    mut faults: Vec<Fault>,
    sound: impl Fn(&str) -> bool,
    limits: &Limits,
) -> Result<Vec<PlannedJob>, Vec<Fault>> {
    let mut jobs = Vec::new();
    for (name, settings) in loaded.config.jobs.iter().filter(|(name, _)| sound(name)) {
        match plan_job(loaded, name, settings, limits) {
            Ok(job) => jobs.push(job),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(jobs) } else { Err(faults) }
}

fn plan_job(loaded: &Loaded, name: &str, settings: &config::Job, limits: &Limits) -> Result<PlannedJob, Vec<Fault>> {
    let limits = &wire::sql::of_job(limits, name);
    let at = |key: &str, message: String| vec![loaded.fault_at(&format!("job.{name}.{key}"), message)];
    if let config::Source::Kafka(kafka) = &settings.source {
        let faults = wire::source::check_properties(kafka);
        if !faults.is_empty() {
            return Err(faults.into_iter().flat_map(|fault| at("source.properties", fault)).collect());
        }
    }
    let whole = wire::format::format(&settings.format, None).map_err(|e| at("format", e))?;
    let mut used = None;
    let mut schema = whole.schema();
    for (i, operator) in settings.operators.iter().enumerate() {
        let config::Operator::Sql(sql) = operator;
        let fault = |e| at(&format!("operator[{i}].query"), e);
        if i == 0 {
            let columns = wire::sql::columns_used(&sql.query, schema.clone()).map_err(fault)?;
            let narrow = wire::format::format(&settings.format, Some(&columns)).map_err(|e| at("format", e))?;
            schema = narrow.schema();
            used = Some(narrow);
        }
        schema = wire::sql::plan(&sql.query, schema, limits.clone()).map_err(fault)?.schema();
    }
    // Planned again with the narrowed input, so that errors above named the columns as the file has them.
    let format = used.unwrap_or(whole);
    let mut operators = Vec::new();
    let mut input = format.schema();
    for (i, operator) in settings.operators.iter().enumerate() {
        let config::Operator::Sql(sql) = operator;
        let planned =
            wire::sql::plan(&sql.query, input, limits.clone()).map_err(|e| at(&format!("operator[{i}].query"), e))?;
        input = planned.schema();
        operators.push(planned);
    }
    for column in settings.sink.partition_by() {
        if input.index_of(column).is_err() {
            let known: Vec<_> = input.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(at(
                "sink.partition_by",
                format!("no column `{}`; there are {}", column.as_str(), known.join(", ")),
            ));
        }
    }
    let storages = Storages::of(&loaded.config.storages);
    wire::sink::check(&settings.sink, &storages, name, &input).map_err(|e| at("sink", e))?;
    if let Some(dead_letter) = &settings.dead_letter {
        let schema = tidemill_engine::dead_letter::schema();
        wire::sink::check(dead_letter, &storages, name, &schema).map_err(|e| at("dead_letter", e))?;
    }
    Ok(PlannedJob { name: name.to_owned(), settings: settings.clone(), format, operators, schema: input, storages })
}
