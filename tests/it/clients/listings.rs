//! What clients make of a listing: names, sizes and dates, from LIST and from MLSD, by several parsers.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::{PASSWORD, Stage};

const DAY: Duration = Duration::from_hours(24);

/// Name, size, age in days; a negative age lies in the future.
const FILES: [(&str, u64, i64); 6] = [
    ("of an hour.jpg", 1_234, 0),
    ("of last week.jpg", 0, 7),
    ("of eleven months.jpg", 77, 334),
    ("of three years.jpg", 5, 1_095),
    ("of next month.jpg", 6, -30),
    ("larger than 4 GiB.zip", 5_000_000_001, 40),
];

/// `NAME|SIZE|YYYY-MM-DD`, one per line.
fn expected() -> Vec<String> {
    let mut lines: Vec<_> =
        FILES.iter().map(|(name, size, age)| format!("{name}|{size}|{}", day(time(*age)))).collect();
    lines.sort();
    lines
}

fn time(age_days: i64) -> SystemTime {
    let days = DAY * u32::try_from(age_days.abs()).unwrap();
    if age_days < 0 { SystemTime::now() + days } else { SystemTime::now() - days - DAY / 24 }
}

/// The day in UTC, as `date` says it.
fn day(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    landfall_tests::tool("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%d"]).ok().stdout.trim().to_owned()
}

fn stage() -> Stage {
    let stage = Stage::new(0);
    let home = stage.server.home("acme");
    std::fs::create_dir_all(&home).unwrap();
    for (name, size, age) in FILES {
        let file = File::create(home.join(name)).unwrap();
        file.set_len(size).unwrap();
        file.set_modified(time(age)).unwrap();
    }
    stage
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn lftp_reads_listings() {
    let stage = stage();
    for mlsd in ["yes", "no"] {
        let script = format!(
            "set ftp:ssl-allow no; set ftp:use-mlsd {mlsd}; set cmd:time-style %Y-%m-%d; \
             open -u acme,{PASSWORD} ftp://127.0.0.1:{}; cls -l --time-style=%Y-%m-%d; bye",
            stage.server.port("ftp")
        );
        let heard = stage.run("lftp", &["--norc", "-c", &script]).stdout;
        // `-rw-r--r-- 1234 2024-02-29 NAME`, in columns, with link count, user and group in them if it was told.
        let line = |line: &str| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let at = words.iter().position(|word| word.len() == 10 && word.starts_with("20")).unwrap();
            let (size, day) = (words[at - 1], words[at]);
            format!("{}|{size}|{day}", line.split_once(day).unwrap().1.trim())
        };
        assert_eq!(sorted(&heard.lines().map(|text| line(text) + "\n").collect::<String>()), expected(), "{heard}");
    }
}

#[test]
fn aioftp_reads_listings() {
    let stage = stage();
    for command in ["MLSD", "LIST"] {
        let python = landfall_tests::repository().join("target/fixtures/venv/bin/python");
        let script = landfall_tests::repository().join("tests/clients/aioftp_list.py");
        let arguments = [script.to_str().unwrap(), command, "127.0.0.1", &stage.server.port("ftp"), "acme", PASSWORD];
        assert_eq!(sorted(&stage.run(python.to_str().unwrap(), &arguments).stdout), expected(), "{command}");
    }
}

#[test]
fn rclone_reads_listings() {
    let stage = stage();
    for settings in [&[][..], &["--ftp-disable-mlsd"]] {
        let list = ["lsf", "--format", "pst", "--separator", "|", ":ftp:"];
        let heard = stage.rclone(&[settings, &list].concat());
        let lines: String = heard.lines().map(|line| line.split(' ').collect::<Vec<_>>().join(" ") + "\n").collect();
        let without_hour = |line: &str| line.rsplit_once(' ').unwrap().0.to_owned() + "\n";
        assert_eq!(sorted(&lines.lines().map(without_hour).collect::<String>()), expected(), "{heard}");
    }
}
