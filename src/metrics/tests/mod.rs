//! The names of metrics, their formats, and counting.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Format, Histogram, Metric, Page,
    declared::{In, Kind},
};

#[test]
fn every_metric_has_a_name_of_its_own_that_follows_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in Metric::ALL {
        let declared = metric.declared();
        let name = declared.name;
        assert!(names.insert(name), "{name} is there twice");
        let is_ours = name.starts_with("taffrail_") || name.starts_with("process_");
        assert!(is_ours, "{name}");
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(is_plain), "{name}");
        for added in [
            "_total", "_info", "_bytes", "_seconds", "_count", "_sum", "_bucket", "_created",
        ] {
            assert!(!name.ends_with(added), "{name}: {added} is added to it");
        }
        for unit in ["_ms", "_milliseconds", "_kilobytes", "_percent"] {
            assert!(!name.ends_with(unit), "{name} is not in a base unit");
        }
        assert!(declared.help.ends_with('.'), "{name}: {}", declared.help);
        // The formats escape different characters in it.
        assert!(!declared.help.contains(['"', '\\', '\n']), "{name}");
        if declared.kind == Kind::Histogram {
            assert_eq!(declared.unit, In::Seconds, "{name}");
        }
    }
}

#[test]
fn a_page_has_every_metric_once_in_either_format() {
    for (format, end) in [(Format::Prometheus, ""), (Format::OpenMetrics, "# EOF\n")] {
        let mut page = Page::new();
        page.set(Metric::Topics, 3_u64);
        page.set_for(Metric::MemoryUsed, &[("part", "reads")], 1_u64 << 40);
        page.set(Metric::Partitions, 7_u64);
        page.set_for(Metric::MemoryUsed, &[("part", "a\"b\\c")], 0_u64);
        page.set(Metric::ProcessCpu, 1.5);
        page.set_for(Metric::Build, &[("version", "0.1.0")], 1_u64);
        let text = page.text(format);
        assert!(text.ends_with(end), "{text}");
        assert_eq!(text.contains("# EOF"), !end.is_empty());
        let types: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(types.len(), Metric::ALL.len());
        for line in [
            "taffrail_topics 3",
            "taffrail_partitions 7",
            "taffrail_memory_used_bytes{part=\"reads\"} 1099511627776",
            "taffrail_memory_used_bytes{part=\"a\\\"b\\\\c\"} 0",
            "process_cpu_seconds_total 1.5",
            "taffrail_build_info{version=\"0.1.0\"} 1",
        ] {
            assert_eq!(
                text.lines().filter(|one| *one == line).count(),
                1,
                "{line} in:\n{text}"
            );
        }
    }
}

#[test]
fn a_unit_is_told_where_the_format_has_one() {
    let text = Page::new().text(Format::OpenMetrics);
    assert!(
        text.contains("# UNIT taffrail_memory_used_bytes bytes\n"),
        "{text}"
    );
    assert!(
        text.contains("# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\n"),
        "{text}"
    );
    let text = Page::new().text(Format::Prometheus);
    assert!(!text.contains("# UNIT"), "{text}");
    assert!(
        text.contains("# TYPE process_cpu_seconds_total counter\n"),
        "{text}"
    );
}

#[test]
fn the_format_is_the_one_that_a_client_likes_best() {
    for (accept, wanted) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/html", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        (
            "application/openmetrics-text;version=2.0.0",
            Format::Prometheus,
        ),
        (
            "text/plain;q=0.9, application/openmetrics-text;version=1.0.0;q=0.3",
            Format::Prometheus,
        ),
        // The header that Prometheus sends.
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text;q=0,text/plain",
            Format::Prometheus,
        ),
        ("application/openmetrics-text;q=x", Format::Prometheus),
    ] {
        assert_eq!(Format::wanted(accept), wanted, "{accept}");
    }
}

#[test]
fn a_histogram_counts_a_time_up_to_its_bound_and_not_above() {
    let histogram = Histogram::default();
    for us in [0, 50, 51, 1_000, 10_000_001] {
        histogram.observe(Duration::from_micros(us));
    }
    let distribution = histogram.distribution();
    let counted = |bound: f64| {
        let of_bound = distribution.buckets.iter().find(|(b, _)| *b == bound);
        of_bound.expect("there is such a bound").1
    };
    assert_eq!(counted(0.000_05), 2);
    assert_eq!(counted(0.000_1), 1);
    assert_eq!(counted(0.001), 1);
    assert_eq!(counted(10.0), 0);
    assert_eq!(counted(f64::INFINITY), 1);
    assert_eq!(distribution.count(), 5);
    assert!(
        (distribution.sum - 10.001_102).abs() < 1e-9,
        "{}",
        distribution.sum
    );
}
