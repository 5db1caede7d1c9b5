//! The chart of the cost of a decision with more users and more servers, as SVG with a logarithmic axis of sizes.

use super::{
    large::{Scale, median},
    thousands,
};
use crate::Failure;

const LEFT: f64 = 60.0;
const WIDTH: f64 = 560.0;
const TOP: f64 = 30.0;
const HEIGHT: f64 = 200.0;
const DECADES: u32 = 6;

pub(super) fn render(results: &Scale) -> Result<String, Failure> {
    let lines = [("users", "#1a7f5a", &results.users), ("servers", "#7a8ca5", &results.servers)];
    let mut points = Vec::new();
    for (name, color, sizes) in lines {
        let mut values = Vec::new();
        for (size, rounds) in sizes {
            values.push((*size, median(rounds)?));
        }
        points.push((name, color, values));
    }
    let values = points.iter().flat_map(|(_, _, values)| values).map(|(_, value)| *value);
    let top = (values.fold(0.0, f64::max) * 1.25 / 20.0).ceil() * 20.0;
    let x = |size: f64| LEFT + size.log10() / f64::from(DECADES) * WIDTH;
    let y = |value: f64| TOP + HEIGHT - value / top * HEIGHT;
    let mut body = String::new();
    for decade in 0..=DECADES {
        let size = 10_f64.powi(i32::try_from(decade)?);
        body += &format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#eee\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
            TOP + HEIGHT + 16.0,
            thousands(size),
            x = x(size),
            bottom = TOP + HEIGHT,
        );
    }
    let mut tick = 0.0;
    while tick <= top {
        body += &format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{tick:.0}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y(tick) + 4.0,
            y = y(tick),
        );
        tick += 20.0;
    }
    for (number, (name, color, values)) in points.iter().enumerate() {
        let path: Vec<String> = values
            .iter()
            .map(|(size, value)| format!("{:.1},{:.1}", x(*size), y(*value)))
            .collect();
        body += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (size, value) in values {
            body += &format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{color}\"/>",
                x(*size),
                y(*value)
            );
        }
        let legend = LEFT + WIDTH + 16.0;
        let line = TOP + 20.0 + 20.0 * number as f64;
        body += &format!(
            "<rect x=\"{legend}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{line:.1}\">{name}</text>",
            line - 9.0,
            legend + 16.0
        );
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"270\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"10\" y=\"18\">CPU time of a decision in microseconds, by the number of users and of servers \
         (logarithmic)</text>{body}</svg>\n"
    ))
}
