use super::*;

fn shell(script: &str, limit: Duration, done: Option<&mut dyn FnMut() -> Result<bool>>) -> Result<Usage> {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    run(command, &dir.path().join("log"), limit, done)
}

const LONG: Duration = Duration::from_secs(60);
/// Holds `$1` bytes for two seconds: a shell's variable is in its memory.
const HOLD: &str = r#"hold() { bash -c 'x=$(head -c '$1' /dev/zero | tr "\0" x); sleep 2; : $x'; }"#;

#[test]
fn the_memory_of_children_adds_up() {
    const BYTES: u64 = 40_000_000;
    let one = shell(&format!("{HOLD}; hold {BYTES}; exit"), LONG, None).expect("ends");
    let two = shell(&format!("{HOLD}; hold {BYTES} & hold {BYTES} & wait"), LONG, None).expect("ends");
    assert!(one.peak_rss_bytes >= BYTES, "{one:?}");
    assert!(two.peak_rss_bytes >= one.peak_rss_bytes + BYTES / 2, "{one:?} {two:?}");
}

#[test]
fn the_cpu_of_children_counts_waited_for_or_not() {
    let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let own = shell(work, LONG, None).expect("ends").cpu_seconds;
    let childs = shell(&format!("bash -c '{work}'; true"), LONG, None).expect("ends").cpu_seconds;
    assert!(childs > own / 3.0, "waited for: {childs} of {own}");
    // The child works for as long as the parent sleeps, and goes on after.
    let outliving = "bash -c 'while :; do :; done' & sleep 2";
    let begun = Instant::now();
    let outlived = shell(outliving, LONG, None).expect("ends").cpu_seconds;
    assert!(outlived > 0.1, "outlived: {outlived}");
    assert!(begun.elapsed() < LONG, "and was killed");
}

#[test]
fn work_that_is_done_stops_a_process_that_does_not_end() {
    let mut asked = 0;
    let mut done = || {
        asked += 1;
        Ok(asked > 3)
    };
    let usage =
        shell("trap 'sleep 1; exit 143' TERM; while :; do sleep 0.05; done", LONG, Some(&mut done)).expect("stops");
    assert!(usage.wall_seconds > 0.2, "{usage:?}");
    assert_eq!(asked, 4, "not asked again while it stops");
    let error = shell("exit 0", LONG, Some(&mut || Ok(false))).expect_err("was not done");
    assert!(error.to_string().contains("before its work was done"), "{error}");
    let error = shell("sleep 60", LONG, Some(&mut || bail!("cannot tell"))).expect_err("fails");
    assert!(error.to_string().contains("cannot tell"), "{error}");
}

#[test]
fn failure_and_too_long_are_errors() {
    let error = shell("echo no such thing; exit 3", LONG, None).expect_err("fails");
    assert!(error.to_string().contains("no such thing"), "{error}");
    let error = shell("sleep 60 & sleep 60", Duration::from_millis(700), None).expect_err("too long");
    assert!(error.to_string().contains("still ran"), "{error}");
}

#[test]
fn a_name_with_parentheses_is_no_trouble() {
    let line = "7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0 999 1 2";
    let stat = Stat::parse(line).expect("parses");
    assert_eq!((stat.parent, stat.start, stat.ticks), (3, 999, 100));
    assert!(Stat::parse("nonsense").is_none());
}
