//! Pages that are composed elsewhere.

use maud::{Markup, html as markup};

use super::{Numbered, absent, shell};
use crate::figures::slug;
use crate::{Block, Cell, Page, Summary, Table, Tone};

pub fn page(page: &Page) -> String {
    let ids: Vec<String> = page.sections.iter().map(|section| slug(&section.title)).collect();
    let contents: Vec<(&str, &str)> =
        ids.iter().zip(&page.sections).map(|(id, section)| (id.as_str(), section.title.as_str())).collect();
    let mut figures = Numbered(0);
    let main = markup! {
        (summary(&page.summary))
        @for (id, section) in ids.iter().zip(&page.sections) {
            section id=(id) {
                h2 { (section.title) }
                @for part in &section.blocks { (block(part, &mut figures)) }
            }
        }
    };
    shell((&page.title, &page.subject, page.notice.as_deref()), &contents, &main)
}

fn summary(summary: &Summary) -> Markup {
    let class = match summary.tone {
        Tone::Found => "verdict yes",
        Tone::NotFound => "verdict no",
        Tone::Open => "verdict open",
    };
    markup! {
        section #summary class=(class) aria-label="Summary" {
            h2 { (summary.headline) }
            @if !summary.details.is_empty() {
                ul { @for detail in &summary.details { li { (detail) } } }
            }
        }
    }
}

fn block(block: &Block, figures: &mut Numbered) -> Markup {
    match block {
        Block::Text(text) => markup! { p { (text) } },
        Block::Absent { what, reason } => absent(what, reason),
        Block::Table(table) => self::table(table),
        Block::Charts(charts) => {
            let mut show = |chart: &crate::chart::Chart| {
                if chart.wide {
                    figures.show_wide(&chart.drawn, &chart.title)
                } else {
                    figures.show(&chart.drawn, &chart.title)
                }
            };
            match charts.as_slice() {
                [one] => show(one),
                several => markup! { div.pair { @for chart in several { (show(chart)) } } },
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let words = |cell: &Cell| !matches!(cell, Cell::Number(_));
    let text = |cell: &Cell| match cell {
        Cell::Words(text) | Cell::Number(text) => markup! { (text) },
        Cell::Failed(text) => markup! { span.failed { (text) } },
    };
    let class = |cell: &Cell| words(cell).then_some("words");
    markup! {
        div.table tabindex="0" role="group" aria-label={ "Table: " (table.title) } {
            table {
                caption { strong { (table.title) ". " } (table.text) }
                thead { tr { @for cell in &table.head { th scope="col" class=[class(cell)] { (text(cell)) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" class=[class(cell)] { (text(cell)) } }
                                @else { td class=[class(cell)] { (text(cell)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
