//! `temporal-warden audit tail`: the newest records over all files, for people or as JSON, and what comes after them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Exit,
    audit::{configured, failed, unreadable},
    paint,
};
use crate::{
    audit::{Backward, Entry, Filter, Series, escaped},
    clock,
};

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Records shown where nothing else is asked.
const RECORDS: usize = 10;

/// What to show.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Go on with new records as they come, also over rotations.
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest matching records; 10, with --since all.
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only of this principal: `sub` of the token or subject of the certificate.
    #[arg(long, value_name = "SUB")]
    principal: Option<String>,
    /// Only methods whose `service/Method` contains this.
    #[arg(long, value_name = "M")]
    method: Option<String>,
    /// Only with this decision.
    #[arg(long)]
    decision: Option<Decision>,
    /// Only what began at this time or later: `90m`, `2d` (ago), or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<OffsetDateTime>,
    /// Only what began before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<OffsetDateTime>,
    /// The records as they are, one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    Allow,
    Deny,
}

/// A duration before now, or a moment.
pub(super) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = time::Duration::try_from(ago).map_err(|e| e.to_string())?;
        return clock::now().checked_sub(ago).ok_or_else(|| "is too long ago".to_owned());
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a duration such as 90m or 2d, or a time such as 2026-11-25T14:00:00Z".to_owned())
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let series = match configured() {
        Ok(series) => series,
        Err(exit) => return exit,
    };
    let filter = filter(arguments);
    let (past, place) = match newest(&series, &filter, arguments) {
        Ok(found) => found,
        Err(error) => return failed(&unreadable(series.current(), &error)),
    };
    let mut table = Table::for_records(&past, arguments.json);
    let shown = table.head().and_then(|()| past.iter().rev().try_for_each(|record| table.show(record)));
    let ended = match shown {
        Ok(()) if arguments.follow => follow(&series, place, &filter, &mut table),
        shown => shown,
    };
    match ended {
        // A reader that has gone (`| head`) is nobody's failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&unreadable(series.current(), &error)),
        _ => Exit::Done.into(),
    }
}

fn filter(arguments: &Arguments) -> Filter {
    let decision = arguments.decision.map(|decision| match decision {
        Decision::Allow => "allow".to_owned(),
        Decision::Deny => "deny".to_owned(),
    });
    Filter {
        principal: arguments.principal.clone(),
        method: arguments.method.clone(),
        decision,
        since: arguments.since,
        until: arguments.until,
    }
}

/// A line and what it says.
struct Record {
    line: Vec<u8>,
    entry: Entry,
}

fn wanted(line: Vec<u8>, filter: &Filter) -> Option<Record> {
    let entry = Entry::parse(&line).filter(|entry| filter.wants(entry))?;
    Some(Record { line, entry })
}

/// The newest records that are wanted, the newest first, and where what comes after them will stand.
fn newest(series: &Series, filter: &Filter, arguments: &Arguments) -> io::Result<(Vec<Record>, Place)> {
    let mut files = series.open_all()?;
    let (path, newest) = files.pop().ok_or(io::ErrorKind::NotFound)?;
    let mut lines = Backward::of(&path, newest.try_clone()?)?;
    let mut place = Place::at(newest, lines.length())?;
    let mut found = Vec::new();
    if lines.is_unfinished() {
        let line = lines.line()?.unwrap_or_default();
        match Entry::parse(&line) {
            Some(_) => found.extend(wanted(line, filter)),
            None => place.begun = line,
        }
    }
    let most = arguments.lines.unwrap_or(if filter.since.is_some() { usize::MAX } else { RECORDS });
    found.truncate(most);
    loop {
        let mut take = |line, entry| match found.len() < most {
            true => {
                found.push(Record { line, entry });
                ControlFlow::Continue(())
            }
            false => ControlFlow::Break(()),
        };
        if filter.search(&mut lines, &mut take)?.is_break() {
            return Ok((found, place));
        }
        let Some((path, file)) = files.pop() else { return Ok((found, place)) };
        lines = Backward::of(&path, file)?;
    }
}

/// Where following stands.
struct Place {
    lines: BufReader<File>,
    inode: (u64, u64),
    /// The start of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Place {
    fn at(mut file: File, offset: u64) -> io::Result<Self> {
        let found = file.metadata()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { lines: BufReader::new(file), inode: (found.dev(), found.ino()), begun: Vec::new() })
    }

    /// Shows what is there now.
    fn show(&mut self, filter: &Filter, table: &mut Table) -> io::Result<()> {
        while self.lines.read_until(b'\n', &mut self.begun)? > 0 {
            if self.begun.pop_if(|b| *b == b'\n').is_none() {
                return Ok(());
            }
            if let Some(record) = wanted(std::mem::take(&mut self.begun), filter) {
                table.show(&record)?;
            }
        }
        Ok(())
    }

    /// The file that comes after this one, once this one was renamed.
    fn next(&self, series: &Series) -> io::Result<Option<Self>> {
        let is_this = |path: &Path| path.metadata().is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_this(series.current()) {
            return Ok(None);
        }
        let files = series.oldest_first()?;
        let ours = files.iter().position(|path| is_this(path));
        // Renamed to a name that is none of the log's: it goes on in the current file.
        let next = ours.map_or(files.last(), |at| files.get(at + 1));
        next.map(|path| Self::at(File::open(path)?, 0)).transpose()
    }
}

fn follow(series: &Series, mut place: Place, filter: &Filter, table: &mut Table) -> io::Result<()> {
    loop {
        place.show(filter, table)?;
        std::thread::sleep(POLL);
        if let Some(next) = place.next(series)? {
            // The gateway may have finished a batch in the old file after the rename.
            std::thread::sleep(POLL);
            place.show(filter, table)?;
            place = next;
        }
    }
}

/// Columns for people, or lines as they are.
struct Table {
    json: bool,
    widths: [usize; 4],
}

/// Where columns begin to be cut in alignment; what is longer pushes its line to the right.
const WIDEST: [usize; 4] = [20, 36, 44, 32];
const HEAD: [&str; 4] = ["TIME", "WHO", "WHAT", "WHERE"];

impl Table {
    fn for_records(records: &[Record], json: bool) -> Self {
        let mut widths = [20, 20, 28, 9];
        for record in records {
            for (width, cell) in widths.iter_mut().zip(cells(&record.entry)) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths.iter_mut().zip(WIDEST).for_each(|(width, most)| *width = (*width).min(most));
        Self { json, widths }
    }

    fn head(&self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.line(&HEAD.map(str::to_owned), "ALLOWED?", "STATUS", "REASON")
    }

    fn show(&mut self, record: &Record) -> io::Result<()> {
        if self.json {
            let mut out = io::stdout().lock();
            out.write_all(&record.line)?;
            return out.write_all(b"\n");
        }
        let entry = &record.entry;
        let status = match (entry.grpc_status, entry.http_status) {
            (Some(code), _) => code.to_string(),
            (None, Some(code)) => code.to_string(),
            (None, None) => "-".to_owned(),
        };
        let reason = escaped(entry.reason.as_deref().unwrap_or_default());
        self.line(&cells(entry), &escaped(&entry.decision), &status, &reason)
    }

    fn line(&self, cells: &[String; 4], decision: &str, status: &str, reason: &str) -> io::Result<()> {
        let [time, who, what, place] = cells;
        let [t, w, m, p] = self.widths;
        let line = format!("{time:t$}  {who:w$}  {what:m$}  {place:p$}  {decision:8}  {status:6}  {reason}");
        io::stdout().lock().write_all(paint::for_reader(&format!("{}\n", line.trim_end())).as_bytes())
    }
}

/// When, who, what, where.
fn cells(entry: &Entry) -> [String; 4] {
    let time = entry
        .began()
        .map_or_else(|| entry.time.clone(), |at| at.truncate_to_second().format(&Rfc3339).unwrap_or_default());
    let what = match entry.service.as_str() {
        "warden" | "tls" => format!("{} {}", entry.service, entry.method),
        _ => entry.method.clone(),
    };
    let place = match (&entry.namespace, &entry.workflow_id) {
        (Some(namespace), Some(workflow)) => format!("{namespace}/{workflow}"),
        (Some(namespace), None) => namespace.clone(),
        (None, _) => "-".to_owned(),
    };
    [time, entry.who().to_owned(), what, place].map(|cell| escaped(&cell))
}
