//! What holds of every figure and of every page.

use std::collections::HashSet;

use dina_report::Figure;

/// Every figure is a well-formed picture of its own: named, described, finite, on a ground, and
/// without anything from outside.
pub fn check_figures(figures: Vec<Figure>) -> Vec<Figure> {
    let names: HashSet<&str> = figures.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), figures.len(), "{names:?}");
    for figure in &figures {
        let name = &figure.name;
        let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(safe), "{name}");
        let document =
            roxmltree::Document::parse(&figure.svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        let root = document.root_element();
        let child = |tag| root.children().find(|c| c.has_tag_name(tag)).unwrap().text();
        assert_eq!(root.attribute("role"), Some("img"), "{name}");
        assert_eq!(root.attribute("aria-label"), child("title"), "{name}");
        assert!(child("desc").is_some_and(|text| text.len() > 40), "{name}");
        for node in root.descendants().filter(|n| n.is_element()) {
            assert_ne!(node.tag_name().name(), "script", "{name}");
            for attribute in node.attributes() {
                check_attribute(name, attribute.name(), attribute.value());
            }
        }
        let view: Vec<f64> =
            root.attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        assert!(view[2] > 50. && view[3] > 50. && view[3] < 5000., "{name}: {view:?}");
        assert!(!figure.svg.contains("var("), "{name}");
        assert!(figure.caption.ends_with('.'), "{name}: {}", figure.caption);
    }
    figures
}

fn check_attribute(figure: &str, name: &str, value: &str) {
    match name {
        "href" => assert!(value.starts_with("data:image/png;base64,"), "{figure}"),
        "x" | "y" | "x1" | "y1" | "x2" | "y2" | "cx" | "cy" | "r" | "rx" => {
            let number: f64 = value.parse().unwrap();
            assert!(number.is_finite() && number.abs() < 1e5, "{figure}: {name}={value}");
        }
        "width" | "height" if value != "100%" => {
            let number: f64 = value.parse().unwrap();
            assert!(number.is_finite() && number >= 0., "{figure}: {name}={value}");
        }
        "d" => assert!(!value.contains(['N', 'n', 'i']), "{figure}: {value}"),
        "class" => assert!(value.split(' ').all(|c| c.is_empty() || c.starts_with("d-"))),
        _ => {}
    }
}

/// The page refers to nothing outside itself, runs nothing, and has every id once.
pub fn check_page(page: String) -> String {
    assert!(!page.contains("<script"), "a script");
    for attribute in [" src=", " srcset=", "@import", "url(", "<link", "<iframe", "<object"] {
        let text = page.replace("src=&quot;", "");
        assert!(!text.contains(attribute), "{attribute}");
    }
    for (at, _) in page.match_indices("href=\"") {
        let target = &page[at + 6..];
        let inside = target.starts_with('#') || target.starts_with("data:image/png;base64,");
        assert!(inside, "{}", &target[..40]);
    }
    // What base64 spells is no matter.
    let words: String =
        page.split("base64,").map(|part| part.split_once('"').map_or(part, |(_, rest)| rest)).collect();
    assert!(!words.contains("NaN") && !words.contains(">inf"));
    let ids: Vec<&str> =
        page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    for part in ["<table", "<figure"] {
        let caption = if part == "<table" { "<caption" } else { "<figcaption" };
        assert_eq!(page.matches(part).count(), page.matches(caption).count());
    }
    assert!(page.contains("name=\"viewport\""));
    assert!(page.contains("prefers-color-scheme:dark"));
    assert!(page.contains("@media print"));
    page
}
