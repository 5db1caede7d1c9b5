//! The format of metrics: Prometheus text, or OpenMetrics for clients that prefer it.
//!
//! OpenMetrics declares a counter without the suffix of its samples (`callgate_decisions` for
//! `callgate_decisions_total`). The Prometheus format declares each name as its samples have it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

/// A format, chosen by the header `Accept` of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus 0.0.4, the default.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// Selects the format by the values of `Accept`.
    pub(crate) fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let mut text = 0.0;
        let mut open = 0.0;
        for range in accept.flat_map(|value| value.split(',')) {
            let (kind, quality) = media_range(range);
            match kind.as_str() {
                "application/openmetrics-text" => open = quality.max(open),
                "text/plain" => text = quality.max(text),
                // Wildcards get the default.
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of the response.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Converts OpenMetrics text to this format.
    pub(crate) fn convert(self, open: String) -> String {
        match self {
            Self::Text => to_prometheus(&open),
            Self::OpenMetrics => open,
        }
    }
}

/// Media type and quality (1 by default) of one part of `Accept` (RFC 9110, section 12.5.1).
fn media_range(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
    (kind, quality.unwrap_or(1.0))
}

fn to_prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            // Precedes the type, which determines the name.
            (Some("#"), Some("HELP"), Some(_), meaning) => help = meaning,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                if let Some(help) = help.take() {
                    text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            (Some("#"), Some("UNIT" | "EOF"), _, _) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_prefer_openmetrics_get_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (&[prometheus] as &[_], Exposition::OpenMetrics),
            (&["application/openmetrics-text"], Exposition::OpenMetrics),
            (&["text/plain;q=0.2", "Application/OpenMetrics-Text; q=0.3"], Exposition::OpenMetrics),
            (&[], Exposition::Text),
            (&["*/*"], Exposition::Text),
            (&["text/html, text/plain"], Exposition::Text),
            (&["application/openmetrics-text;q=0"], Exposition::Text),
            (
                &["text/plain;version=0.0.4;q=0.6,application/openmetrics-text;q=0.5"],
                Exposition::Text,
            ),
        ] {
            assert_eq!(Exposition::negotiate(accept.iter().copied()), expected, "{accept:?}");
        }
    }

    #[test]
    fn prometheus_format_declares_sample_names() {
        let open = "# HELP a_b What it counts.\n# TYPE a_b counter\na_b_total{x=\"y z\"} 1\n\
            # HELP t_seconds How long.\n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\n\
            t_seconds_sum 1\n# HELP build Version.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n";
        let plain = "# HELP a_b_total What it counts.\n# TYPE a_b_total counter\na_b_total{x=\"y z\"} 1\n\
            # HELP t_seconds How long.\n# TYPE t_seconds histogram\nt_seconds_sum 1\n\
            # HELP build_info Version.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n";
        assert_eq!(Exposition::Text.convert(open.to_owned()), plain);
        assert_eq!(Exposition::OpenMetrics.convert(open.to_owned()), open);
    }
}
