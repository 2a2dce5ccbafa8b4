//! Charts of the last hour: round-trip times as a band with their mean, failures as bars.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::format;
use crate::store::trends::{MINUTE_MS, MINUTES, Minute};

/// The size of a chart and the margins of its axes, in the units of the drawing.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;

/// The ticks of the time axis, in minutes before now.
const TIME_TICKS: [u32; 5] = [60, 45, 30, 15, 0];

/// Draws a band from the shortest to the longest round trip of each minute, and the mean as a line. `now_ms` is Unix
/// time in ms.
pub(super) fn round_trip(minutes: &[Minute], now_ms: u64) -> Markup {
    let points: Vec<(f64, &Minute)> =
        positions(minutes, now_ms).filter(|(_, minute)| minute.measured > 0).collect();
    let (Some(longest), Some(shortest)) = (
        points.iter().map(|(_, minute)| minute.longest_us).max(),
        points.iter().map(|(_, minute)| minute.shortest_us).min(),
    ) else {
        return empty();
    };
    let sum: u64 = points.iter().map(|(_, minute)| minute.sum_us).sum();
    let count: u64 = points.iter().map(|(_, minute)| u64::from(minute.measured)).sum();
    let mean = u32::try_from(sum / count.max(1)).unwrap_or(u32::MAX);
    let summary = format!(
        "In the last hour between {} and {} ms, {} ms on average.",
        format::milliseconds(shortest),
        format::milliseconds(longest),
        format::milliseconds(mean)
    );
    let scale = Scale::up_to(f64::from(longest) / 1_000.0);
    let y = |us: u32| scale.y(f64::from(us) / 1_000.0);
    let mut band = String::new();
    let mut line = String::new();
    for run in consecutive(&points) {
        let mut command = 'M';
        for (x, minute) in run {
            let _ = write!(band, "{command}{x:.1} {:.1}", y(minute.longest_us));
            let _ = write!(line, "{command}{x:.1} {:.1}", y(minute.mean_us().unwrap_or(0)));
            command = 'L';
        }
        for (x, minute) in run.iter().rev() {
            let _ = write!(band, "L{x:.1} {:.1}", y(minute.shortest_us));
        }
        band.push('z');
    }
    let drawing = html! {
        path.band d=(band) {}
        path.mean d=(line) {}
        @for run in consecutive(&points).filter(|run| run.len() == 1) {
            circle.mean cx={ (format!("{:.1}", run[0].0)) } cy={ (format!("{:.1}", y(run[0].1.mean_us().unwrap_or(0)))) } r="2.5" {}
        }
    };
    Chart { title: "Round-trip time", summary: &summary, scale, unit: "ms" }.render(&drawing)
}

/// Draws a bar for each minute with failures. The summary reads "4 of 8 `what` `failed`". `now_ms` is Unix time in ms.
pub(super) fn loss(minutes: &[Minute], now_ms: u64, what: &str, failed: &str) -> Markup {
    let losses: Vec<(f64, f64)> =
        positions(minutes, now_ms).filter_map(|(x, minute)| Some((x, minute.loss()? * 100.0))).collect();
    if losses.is_empty() {
        return empty();
    }
    let sum = |of: fn(&Minute) -> u32| {
        positions(minutes, now_ms).map(|(_, minute)| u64::from(of(minute))).sum::<u64>()
    };
    let (failures, answers) = (sum(|minute| minute.failed), sum(|minute| minute.answered));
    let summary = format!("In the last hour {failures} of {} {what} {failed}.", failures + answers);
    let max = losses.iter().map(|(_, loss)| *loss).fold(0.0, f64::max);
    // At least 5 %, so that one small loss does not fill the chart; 100 % where nothing was lost.
    let scale = Scale::up_to(if max == 0.0 { 100.0 } else { max.max(5.0) });
    let width = (WIDTH - LEFT - RIGHT) / (MINUTES_F - 1.0) - 1.0;
    let drawing = html! {
        @for (x, loss) in &losses {
            @let y = scale.y(*loss);
            @if *loss > 0.0 {
                rect.loss x={ (format!("{:.1}", x - width / 2.0)) } y={ (format!("{y:.1}")) } width={ (format!("{width:.1}")) } height={ (format!("{:.1}", HEIGHT - BOTTOM - y)) } {}
            } @else {
                rect.no-loss x={ (format!("{:.1}", x - width / 2.0)) } y={ (format!("{:.1}", HEIGHT - BOTTOM - 2.0)) } width={ (format!("{width:.1}")) } height="2" {}
            }
        }
    };
    let title = format!("{what} that {failed}");
    Chart { title: &title, summary: &summary, scale, unit: "%" }.render(&drawing)
}

/// The number of minutes on the time axis.
#[expect(clippy::cast_precision_loss, reason = "it is 61")]
const MINUTES_F: f64 = MINUTES as f64;

/// Returns the minutes of the last hour with their positions on the time axis. The current minute is at the right end.
fn positions(minutes: &[Minute], now_ms: u64) -> impl Iterator<Item = (f64, &Minute)> {
    let current_ms = now_ms / MINUTE_MS * MINUTE_MS;
    minutes.iter().filter_map(move |minute| {
        let back = u32::try_from(current_ms.checked_sub(minute.start_ms)? / MINUTE_MS).ok()?;
        (back < 61).then(|| (x(back), minute))
    })
}

fn x(minutes_back: u32) -> f64 {
    let step = (WIDTH - LEFT - RIGHT) / (MINUTES_F - 1.0);
    WIDTH - RIGHT - step * f64::from(minutes_back)
}

/// Splits minutes into runs without a gap.
fn consecutive<'r, 'm>(points: &'r [(f64, &'m Minute)]) -> impl Iterator<Item = &'r [(f64, &'m Minute)]> {
    points.chunk_by(|(_, a), (_, b)| b.start_ms == a.start_ms + MINUTE_MS)
}

/// A vertical axis from 0 to a round number.
struct Scale {
    top: f64,
    step: f64,
}

impl Scale {
    /// Returns an axis that holds `max`, with four or five ticks.
    fn up_to(max: f64) -> Self {
        let max = max.max(0.001);
        let rough = max / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        Self { top: step * (max / step).ceil(), step }
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value / self.top).clamp(0.0, 1.0))
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        (0..=10_u32).map(|tick| f64::from(tick) * self.step).take_while(|value| *value <= self.top * 1.001)
    }

    /// Formats the number of a tick, with as many digits as the step needs.
    fn format(&self, value: f64) -> String {
        let digits = (0..4_usize).find(|&digits| {
            let shifted = self.step * 10_f64.powi(i32::try_from(digits).unwrap_or(0));
            (shifted - shifted.round()).abs() < 1e-6
        });
        format!("{value:.*}", digits.unwrap_or(3))
    }
}

/// A chart with its axes.
struct Chart<'a> {
    title: &'a str,
    summary: &'a str,
    scale: Scale,
    unit: &'a str,
}

impl Chart<'_> {
    fn render(&self, drawing: &Markup) -> Markup {
        let Self { title, summary, scale, unit } = self;
        let bottom = HEIGHT - BOTTOM;
        html! {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ". " (summary) } {
                @for value in scale.ticks() {
                    @let y = format!("{:.1}", scale.y(value));
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
                    text x=(LEFT - 6.0) y={ (format!("{:.1}", scale.y(value) + 4.0)) } text-anchor="end" { (scale.format(value)) " " (unit) }
                }
                @for back in TIME_TICKS {
                    @let x = format!("{:.1}", x(back));
                    line.grid x1=(x) x2=(x) y1=(bottom) y2=(bottom + 4.0) {}
                    text x=(x) y=(HEIGHT - 8.0) text-anchor=(match back { 0 => "end", 60 => "start", _ => "middle" }) {
                        @if back == 0 { "now" } @else { (back) " min ago" }
                    }
                }
                (drawing)
            }
            p.faint.chart-summary { (summary) }
        }
    }
}

fn empty() -> Markup {
    html! { p.faint { "Nothing measured yet." } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(start: u64, measured: u32, failed: u32) -> Minute {
        Minute {
            start_ms: start * MINUTE_MS,
            answered: measured,
            failed,
            shortest_us: 500,
            longest_us: 1_500,
            measured,
            sum_us: 1_000 * u64::from(measured),
        }
    }

    #[test]
    fn scales_are_round() {
        for (max, top, ticks) in [
            (1.5, 1.5, vec!["0.0", "0.5", "1.0", "1.5"]),
            (0.81, 1.0, vec!["0.00", "0.25", "0.50", "0.75", "1.00"]),
            (100.0, 100.0, vec!["0", "25", "50", "75", "100"]),
            (7.0, 8.0, vec!["0", "2", "4", "6", "8"]),
            (1_234.0, 1_500.0, vec!["0", "500", "1000", "1500"]),
        ] {
            let scale = Scale::up_to(max);
            assert!((scale.top - top).abs() < 1e-9, "{max}: {}", scale.top);
            assert_eq!(scale.ticks().map(|value| scale.format(value)).collect::<Vec<_>>(), ticks, "{max}");
        }
    }

    #[test]
    fn gaps_stay_gaps() {
        let minutes = [minute(100, 2, 0), minute(101, 2, 0), minute(105, 2, 0)];
        let html = round_trip(&minutes, 110 * MINUTE_MS + 5).into_string();
        let line =
            html.split("class=\"mean\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 1), "{line}");
        assert!(html.contains("between 0.50 and 1.50 ms, 1.00 ms on average"), "{html}");
        assert!(html.contains("<circle"), "a single minute is visible");
    }

    #[test]
    fn failures() {
        let html =
            loss(&[minute(100, 0, 4), minute(101, 4, 0)], 101 * MINUTE_MS, "probes", "failed").into_string();
        assert!(html.contains("4 of 8 probes failed"), "{html}");
        assert_eq!(
            (html.matches("class=\"loss\"").count(), html.matches("class=\"no-loss\"").count()),
            (1, 1)
        );
        // The bar of 100 % reaches the top of the axis.
        assert!(html.contains(&format!("y=\"{TOP:.1}\"")), "{html}");
    }

    #[test]
    fn only_the_last_hour_is_drawn() {
        for (now, is_drawn) in [(99, false), (100, true), (160, true), (161, false)] {
            let html = round_trip(&[minute(100, 1, 0)], now * MINUTE_MS).into_string();
            assert_eq!(html.contains("<svg"), is_drawn, "{now}");
        }
        assert!(loss(&[], 0, "probes", "failed").into_string().contains("Nothing measured yet"));
    }
}
