//! What a person sees while the tour goes on: on a terminal a line that moves, elsewhere plain lines, for a machine nothing
//! until the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli::paint::Paint;

/// The spinner's pictures and their pace.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const PACE: Duration = Duration::from_millis(100);

/// Clears the row, and lets the terminal cut off what does not fit: a line that wraps can't be taken back.
const FRESH: &str = "\r\x1b[2K\x1b[?7l";
/// Lets lines wrap again.
const WRAP: &str = "\x1b[?7h";

/// How wide the column of titles is.
const TITLE: usize = 50;

/// Shows steps as they come and go.
pub(super) struct Progress {
    style: Style,
    paint: Paint,
    line: Arc<Mutex<Option<Line>>>,
    spinner: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Moving,
    Plain,
    Silent,
}

/// The step that is under way.
struct Line {
    number: usize,
    title: &'static str,
    start: Instant,
    note: String,
}

impl Progress {
    /// For a machine (`json`) or for whoever reads standard output.
    pub(super) fn new(json: bool) -> Self {
        let style = match (json, io::stdout().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Moving,
            (false, false) => Style::Plain,
        };
        let line = Arc::new(Mutex::new(None));
        let spinner = (style == Style::Moving)
            .then(|| spin(Arc::clone(&line)))
            .flatten();
        Self {
            style,
            paint: Paint::detect(),
            line,
            spinner,
        }
    }

    /// Colours, where they are wanted.
    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    /// A step begins.
    pub(super) fn begin(&self, number: usize, title: &'static str) {
        *self.lock() = Some(Line {
            number,
            title,
            start: Instant::now(),
            note: String::new(),
        });
    }

    /// What the step is waiting for.
    pub(super) fn note(&self, text: &str) {
        if let Some(line) = self.lock().as_mut()
            && line.note != text
        {
            text.clone_into(&mut line.note);
        }
    }

    /// The step has ended; `lines` is what it found. Returns how long it took.
    pub(super) fn end(&self, ok: bool, figure: &str, lines: &[String]) -> Duration {
        let Some(line) = self.lock().take() else {
            return Duration::ZERO;
        };
        let took = line.start.elapsed();
        if self.style == Style::Silent {
            return took;
        }
        let mark = if ok {
            self.paint.good("✓")
        } else {
            self.paint.bad("✗")
        };
        let seconds = self.paint.dim(&format!("{:>6.1} s", took.as_secs_f64()));
        self.say(&format!(
            "{mark} {:>2}  {:<TITLE$} {seconds}  {figure}",
            line.number, line.title
        ));
        for line in lines {
            self.say(&format!("      {}", self.paint.dim(line)));
        }
        took
    }

    /// A line of text between steps.
    pub(super) fn say(&self, text: &str) {
        if self.style != Style::Silent {
            // Nobody is left to be told if the reader is gone; the tour still takes down what it built.
            let back = if self.style == Style::Moving {
                "\r\x1b[2K"
            } else {
                ""
            };
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{back}{text}").and_then(|()| out.flush());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.spinner.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Draws the line again and again, until the sender is dropped. Without a thread there is no spinner, which is no failure.
fn spin(line: Arc<Mutex<Option<Line>>>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (end, ended) = mpsc::channel::<()>();
    let draw = move || {
        for picture in SPINNER.iter().cycle() {
            if !matches!(ended.recv_timeout(PACE), Err(RecvTimeoutError::Timeout)) {
                break;
            }
            let line = line.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = line.as_ref() {
                let mut out = io::stdout().lock();
                let _ = write!(out, "{}", moving(*picture, line)).and_then(|()| out.flush());
            }
        }
    };
    let thread = std::thread::Builder::new()
        .name("progress".into())
        .spawn(draw)
        .ok()?;
    Some((end, thread))
}

fn moving(picture: char, line: &Line) -> String {
    let seconds = line.start.elapsed().as_secs_f64();
    let text = format!(
        "{picture} {:>2}  {:<TITLE$} {seconds:>6.1} s  {}",
        line.number, line.title, line.note
    );
    format!("{FRESH}{text}{WRAP}")
}
