//! From one configuration to the next by the smallest change: a pure decision.

use tidemill_config::{Config, Job, Window};

use super::ask::Reloaded;

/// Keys of `[daemon]` that hold at once.
const LIVE: &[&str] = &["stall_after", "disk_reserve", "api_token", "watch"];

/// What becomes of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that a run could notice.
    None,
    /// Only window bounds: the run goes on.
    Window,
    /// Anything else: a new run with new parts.
    Parts,
}

/// What the new settings of a job ask for, and those of the object stores that it names.
pub(super) fn of_job(name: &str, old: &Config, new: &Config) -> Change {
    let (Some(before), Some(after)) = (old.jobs.get(name), new.jobs.get(name)) else { return Change::Parts };
    let stores = std::iter::once(&after.sink).chain(&after.dead_letter).filter_map(|sink| sink.storage());
    if stores.into_iter().any(|store| old.storages.get(store.as_str()) != new.storages.get(store.as_str())) {
        return Change::Parts;
    }
    of_settings(before, after)
}

fn of_settings(old: &Job, new: &Job) -> Change {
    // `after` matters only before a job begins. Another tuner comes with a new run.
    let window = |w: &Window| Window { freshness: w.freshness, tuning: w.tuning, ..Window::default() };
    let parts = |job: &Job| Job { window: window(&job.window), after: Vec::new(), ..job.clone() };
    if parts(old) != parts(new) {
        Change::Parts
    } else if old.window != new.window {
        Change::Window
    } else {
        Change::None
    }
}

/// Keys of `[daemon]` that changed and need a restart of the daemon.
pub(super) fn refused(old: &Config, new: &Config) -> Vec<String> {
    daemon_keys(old, new).into_iter().filter(|key| !LIVE.contains(&key.as_str())).collect()
}

fn daemon_keys(old: &Config, new: &Config) -> Vec<String> {
    // As they are shown: what a secret reference gives is compared apart.
    let (a, b) = (serde_json::to_value(&old.daemon), serde_json::to_value(&new.daemon));
    let (Ok(serde_json::Value::Object(a)), Ok(serde_json::Value::Object(b))) = (a, b) else { return Vec::new() };
    let mut keys: Vec<String> = a.keys().chain(b.keys()).filter(|k| a.get(*k) != b.get(*k)).cloned().collect();
    if old.daemon.api_token != new.daemon.api_token {
        keys.push("api_token".into());
    }
    keys.sort();
    keys.dedup();
    keys
}

/// What going from `old` to `new` does.
pub(super) fn plan(old: &Config, new: &Config) -> Reloaded {
    let mut plan = Reloaded::default();
    for name in new.jobs.keys() {
        let list = match of_job(name, old, new) {
            _ if !old.jobs.contains_key(name) => &mut plan.added,
            Change::None => &mut plan.unchanged,
            Change::Window => &mut plan.window,
            Change::Parts => &mut plan.restarted,
        };
        list.push(name.clone());
    }
    plan.removed = old.jobs.keys().filter(|name| !new.jobs.contains_key(*name)).cloned().collect();
    plan.keys = daemon_keys(old, new).into_iter().map(|key| format!("daemon.{key}")).collect();
    let groups = old.groups.keys().chain(new.groups.keys().filter(|name| !old.groups.contains_key(*name)));
    plan.keys.extend(groups.filter(|g| old.groups.get(*g) != new.groups.get(*g)).map(|g| format!("group.{g}")));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_config::{System, load_text};

    fn config(daemon: &str, jobs: &[(&str, &str)]) -> Config {
        let mut text = format!("[daemon]\n{daemon}\n");
        for (name, more) in jobs {
            text.push_str(&format!(
                "[job.{name}]\nsource = {{ type = \"generator\" }}\nformat = {{ type = \"raw\" }}\n\
                 sink = {{ type = \"parquet\", path = \"./{name}\" }}\n{more}\n"
            ));
        }
        load_text("t.toml", &text, &System).expect("no fault").config
    }

    #[test]
    fn the_smallest_change_of_each_job() {
        let old = config("", &[("a", ""), ("b", ""), ("c", ""), ("d", "")]);
        let new = config(
            "stall_after = \"9s\"\ndisk_reserve = \"1GiB\"\n[group.g]",
            &[("a", ""), ("b", "window = { max_rows = 7 }"), ("c", "on_error = \"skip\""), ("e", "")],
        );
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let expected = Reloaded {
            added: names(&["e"]),
            removed: names(&["d"]),
            restarted: names(&["c"]),
            window: names(&["b"]),
            unchanged: names(&["a"]),
            keys: names(&["daemon.disk_reserve", "daemon.stall_after", "group.g"]),
            warnings: vec![],
        };
        assert_eq!(plan(&old, &new), expected);
        assert_eq!(refused(&old, &new), names(&[]));
    }

    #[test]
    fn keys_that_need_a_restart_of_the_daemon_are_named() {
        let old = config("memory = \"64MiB\"", &[("a", "")]);
        let token = "api_token = \"0123456789abcdef\"";
        let new = config(&format!("memory = \"65MiB\"\nhttp = \"127.0.0.1:1\"\nwatch = true\n{token}"), &[("a", "")]);
        assert_eq!(refused(&old, &new), ["http", "memory"]);
        let other = config(
            &format!("memory = \"65MiB\"\nhttp = \"127.0.0.1:1\"\nwatch = true\n{}", token.replace("abc", "xyz")),
            &[("a", "")],
        );
        assert_eq!(plan(&new, &other).keys, ["daemon.api_token"], "a secret's change is noticed");
    }
}
