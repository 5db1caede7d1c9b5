//! The chart of CPU time per answer, as SVG with a logarithmic scale.

use super::{PEERS, Results, WORKS, thousands};
use crate::Failure;

const LEFT: f64 = 210.0;
const WIDTH: f64 = 460.0;
const BAR_HEIGHT: usize = 16;
const LINE_HEIGHT: usize = 22;
/// The left end of the scale, in microseconds.
const LOW: f64 = 10.0;
const COLORS: [&str; 4] = ["#1a7f5a", "#7a8ca5", "#a5957a", "#a57a8c"];

pub(super) fn render(results: &Results) -> Result<String, Failure> {
    let mut bars = Vec::new();
    for (work, title) in WORKS {
        let mut values = Vec::new();
        for (peer, _) in PEERS {
            values.push(results.load(peer, "xkey", work)?.responder_cpu);
        }
        bars.push((title, values));
    }
    let highest = bars.iter().flat_map(|(_, values)| values).fold(LOW, |a, b| a.max(*b));
    let decades = (highest / LOW).log10().ceil();
    let scale = |value: f64| (value / LOW).log10() / decades * WIDTH;
    let mut body = String::new();
    let mut y = 34;
    for (title, values) in bars {
        body += &format!("<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>", y + 12);
        y += LINE_HEIGHT;
        for (((_, name), color), value) in PEERS.iter().zip(COLORS).zip(values) {
            let width = scale(value);
            body += &format!(
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{text}\">{}</text>",
                LEFT - 8.0,
                LEFT + width + 6.0,
                thousands(value),
                text = y + 12,
            );
            y += LINE_HEIGHT;
        }
        y += 8;
    }
    let mut ticks = String::new();
    let mut tick = LOW;
    while scale(tick) <= WIDTH + 0.1 {
        let x = LEFT + scale(tick);
        ticks += &format!(
            "<line x1=\"{x:.1}\" y1=\"28\" x2=\"{x:.1}\" y2=\"{y}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
            y + 14,
            thousands(tick),
        );
        tick *= 10.0;
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         {ticks}<text x=\"10\" y=\"18\">CPU time of the callout per answer, in microseconds, with an xkey \
         (logarithmic)</text>{body}</svg>\n",
        y + 24
    ))
}
