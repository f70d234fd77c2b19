//! No secret is shown, wherever it stands and whatever is wrong with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::Made;
use tidemill_config::{FaultKind, Loaded, Source, load_text};

const CANARY: &str = "canary-hunter2";

fn made() -> Made {
    let mut made = Made::default();
    for name in ["PW", "/run/pw"] {
        made.0.insert(name, format!("{CANARY}\n"));
    }
    made
}

/// Everything that is ever shown of a result.
fn shown(result: &Result<Loaded, Vec<tidemill_config::Fault>>) -> String {
    match result {
        Ok(loaded) => format!(
            "{loaded:?} {:?} {} {} {}",
            loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            serde_json::to_string(&loaded.config).expect("json"),
            toml::to_string(&loaded.config).expect("toml"),
            loaded.fault_at("job.a.source.properties.\"sasl.password\"", "refused"),
        ),
        Err(faults) => format!(
            "{faults:?} {:?} {}",
            faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            serde_json::to_string(faults).expect("json")
        ),
    }
}

fn config(properties: &str) -> String {
    common::job("").replace("topics = [\"t\"]", &format!("topics = [\"t\"], properties = {{ {properties} }}"))
}

#[test]
fn references_are_resolved_and_never_shown() {
    let text =
        config(r#""sasl.password" = "${env:PW}", "sasl.username" = "${file:/run/pw}", "client.id" = "x-${env:PW}-y" "#);
    let result = load_text("a.toml", &text, &made());
    let output = shown(&result);
    assert!(!output.contains(CANARY), "{output}");
    assert!(output.contains("${env:PW}") && output.contains("x-${env:PW}-y"), "{output}");
    let loaded = result.expect("loads");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let Source::Kafka(kafka) = &loaded.config.jobs["a"].source else { panic!("kafka") };
    assert_eq!(&*kafka.properties["sasl.password"], format!("{CANARY}\n"), "an environment variable is taken as it is");
    assert_eq!(&*kafka.properties["sasl.username"], CANARY, "a file without its last line break");
}

#[test]
fn inline_secrets_are_warned_of_and_never_shown() {
    let text = config(&format!(
        r#""sasl.password" = "{CANARY}", "ssl.key.pem" = "{CANARY}", "sasl.oauthbearer.token.endpoint.url" = "http://a" "#
    ));
    let result = load_text("a.toml", &text, &made());
    assert!(!shown(&result).contains(CANARY));
    let warnings = result.expect("loads").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|w| w.kind == FaultKind::InlineSecret));
    assert!(warnings[0].to_string().starts_with("a.toml:2:"), "{}", warnings[0]);
}

#[test]
fn faults_show_no_secret() {
    let (job, reference) = (common::job, "\"${env:PW}\"");
    for text in [
        // A reference where its value is wrong.
        job(&format!("on_error = {reference}")),
        job(&format!("delivery = {reference}")),
        job(&format!("window.max_age = {reference}")),
        job(&format!("window.max_bytes = {reference}")),
        job(&format!("window.max_rows = {reference}")),
        job(&format!("window = {reference}")),
        job(&format!("nonsense = {reference}")),
        job(&format!("[daemon]\nhttp = {reference}")),
        job(&format!("[daemon]\ninstance = {reference}")),
        job(&format!("[[job.a.operator]]\ntype = \"sql\"\nquery = {reference}")),
        job(&format!("[[job.a.operator]]\ntype = {reference}")),
        job("").replace("\"127.0.0.1:9092\"", reference),
        job("").replace("\"t\"", "\"^(${env:PW}\""),
        job("").replace("\"t\"", "\"${env:PW} \""),
        job("").replace("\"int64\"", reference),
        job("").replace(
            "\"int64\" }",
            "\"int64\" }, { name = \"${env:PW}\", type = \"int8\" }, { name = \"${env:PW}\", type = \"int8\" }",
        ),
        job("").replace("\"./out\"", "\"hdfs://${env:PW}/\""),
        job("").replace("\"./out\"", "\"./out\", partition_by = [\"${env:PW}\"]"),
        job("dead_letter = { type = \"parquet\", path = \"${env:PW}/a\" }").replace("\"./out\"", reference),
        job("").replace("[\"t\"]", &format!("[\"t\"], start = {reference}")),
        // An inline secret of the wrong type, or in a file with a fault.
        config(&format!("\"sasl.password\" = [\"{CANARY}\"]")),
        config(&format!("sasl.password = \"{CANARY}\"")),
        config(&format!("\"sasl.password\" = {{ x = \"{CANARY}\" }}")),
        config(&format!("\"sasl.password\" = \"${{evn:PW}}{CANARY}\"")),
        config(&format!("\"sasl.password\" = \"{CANARY}\", \"sasl.password\" = \"{CANARY}\"")),
        config(&format!("\"sasl.password\" = \"{CANARY}")),
        config(&format!("\"sasl.password\" = {CANARY}")),
        job("").replace("127.0.0.1:9092", &format!("kafka://me:{CANARY}@host:9092")),
    ] {
        let result = load_text("a.toml", &text, &made());
        assert!(result.is_err(), "has a fault:\n{text}");
        let output = shown(&result);
        assert!(!output.contains(CANARY), "{output}\nof:\n{text}");
    }
}

#[test]
fn a_text_beside_a_reference_is_no_way_out() {
    let text = config(&format!(
        "\"sasl.jaas.config\" = \"user=${{env:PW}} password={CANARY}\", \"sasl.password\" = \"{CANARY}$${{\""
    ));
    let result = load_text("a.toml", &text, &made());
    assert!(!shown(&result).contains(CANARY), "{}", shown(&result));
    assert!(result.is_ok());
}

#[test]
fn docs_and_schema_hold_none() {
    // What is made at build time cannot hold one; that no value of this process gets in is what this holds.
    let text = format!("{}{}", tidemill_config::docs(), tidemill_config::schema());
    assert!(!text.contains(CANARY) && !text.contains(env!("CARGO_MANIFEST_DIR")));
}

#[test]
fn unresolved_references_are_faults_all_at_once() {
    let text = config(r#""a" = "${env:NOPE}", "b" = "${file:/nope}", "c" = "${evn:PW}" "#);
    let faults = load_text("a.toml", &text, &made()).map(drop).expect_err("faults");
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.kind == FaultKind::Reference && fault.line == 2));
    assert!(faults[2].message.contains("did you mean \"env\""));
}

#[test]
fn secrets_of_object_stores() {
    let config = |secret: &str| {
        format!(
            "{}\n[storage.lake]\ntype = \"s3\"\naccess_key_id = \"id\"\nsecret_access_key = \"{secret}\"\n\
             session_token = \"{secret}\"\n",
            common::job("").replace("./out\"", "s3://lake/out\", storage = \"lake\"")
        )
    };
    for (secret, warned) in [(CANARY, 2), ("${env:PW}", 0)] {
        let loaded = load_text("a.toml", &config(secret), &made());
        let text = shown(&loaded);
        assert!(!text.contains(CANARY), "{text}");
        let loaded = loaded.expect("loads");
        assert_eq!(loaded.warnings.iter().filter(|w| w.kind == FaultKind::InlineSecret).count(), warned);
        let tidemill_config::Storage::S3(s3) = &loaded.config.storages["lake"] else { panic!("S3") };
        assert_eq!(s3.secret_access_key.as_ref().map(|s| s.trim()), Some(CANARY));
    }
}
