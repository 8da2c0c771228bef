//! Options that have no counterpart, and why.

const REPLACED: &str = "a process that ends is always replaced: at once, then after 0.5 s, which grows by half with each \
                        failure to at most 30 s; there is no number after which it is given up";
const WATCH: &str = "files are not watched: `hatchery reload` is the word that new code is there, and loses no request";
const MONITORING: &str =
    "it is about PM2's own monitoring; see `hatchery status` and `hatchery metrics`";
const LINES: &str = "lines of the program are passed on as they are";
const SOURCE: &str =
    "it is about source maps of Node's: put --enable-source-maps behind `node` in `program`";

/// Options of PM2's that mean what is the case here anyway, or nothing.
pub(super) const HARMLESS: &[&str] = &[
    "namespace",
    "version",
    "description",
    "kill_retry_time",
    "windows_hide",
];

/// Option and reason.
pub(super) const WITHOUT: &[(&str, &str)] = &[
    ("append_env_to_name", "the name is `name`"),
    ("autorestart", REPLACED),
    (
        "autostart",
        "a configuration is not started before somebody starts it",
    ),
    ("automation", MONITORING),
    (
        "cron_restart",
        "nothing is restarted by the clock: let cron or a systemd timer run `hatchery reload --app NAME`, which loses \
         no request; against a growing process there are `max_memory` and `max_lifetime`",
    ),
    ("deep_monitoring", MONITORING),
    ("disable_logs", "take `log_file = \"/dev/null\"`"),
    ("disable_source_map_support", SOURCE),
    ("event_loop_inspector", MONITORING),
    ("execute_command", "nothing is run beside the program"),
    ("exp_backoff_restart_delay", REPLACED),
    (
        "filter_env",
        "the program has the environment of the master, with `program_env` on top",
    ),
    ("force", "one name is one application"),
    ("ignore_watch", WATCH),
    (
        "increment_var",
        "workers share their sockets, so no two of them need different ports; HATCHERY_CHILD_SLOT tells them apart",
    ),
    ("install_url", "nothing is installed"),
    (
        "instance_var",
        "the worker's number is in HATCHERY_CHILD_SLOT",
    ),
    ("io", MONITORING),
    ("log_date_format", LINES),
    ("max_restarts", REPLACED),
    ("merge_logs", "everything that is printed goes to one file"),
    ("min_uptime", REPLACED),
    ("name_prefix", "the name is `name`"),
    ("pmx", MONITORING),
    ("post_update", "nothing is updated"),
    ("restart_delay", REPLACED),
    (
        "shutdown_with_message",
        "the program is told by a signal, `program_stop_signal`",
    ),
    ("source_map_support", SOURCE),
    ("stop_exit_codes", REPLACED),
    ("time", LINES),
    ("trace", MONITORING),
    ("treekill", "whatever a program leaves behind is killed"),
    ("v8", MONITORING),
    ("vizion", MONITORING),
    ("watch", WATCH),
    ("watch_delay", WATCH),
    ("watch_options", WATCH),
];
