//! The figures, side by side.

use crate::Folded;
use crate::peers::TableSize;
use crate::questions::{Figures, Question};

/// What folding has shown of one subject.
pub(crate) struct FoldRow {
    pub(crate) name: String,
    pub(crate) folded: Folded,
    pub(crate) stored_bytes: u64,
    pub(crate) tables: Vec<TableSize>,
}

/// What a round of questions has shown of one subject.
pub(crate) struct AskRow {
    pub(crate) name: String,
    pub(crate) question: Question,
    pub(crate) figures: Figures,
}

pub(crate) fn folded(row: &FoldRow) {
    let Folded { frames, changes, took, cpu_s, .. } = &row.folded;
    let of = |bytes: u64| bytes as f64 / *changes as f64;
    println!(
        "{:<32}{:>9.0} frames/s {:>8.1} us of processor time a frame {:>9.1} B a change",
        row.name,
        *frames as f64 / took.as_secs_f64(),
        cpu_s * 1e6 / *frames as f64,
        of(row.stored_bytes),
    );
    for table in &row.tables {
        println!("  {:<30}{:>9.1} B a change ({})", table.name, of(table.bytes), table.note);
    }
}

/// Medians over the rounds.
pub(crate) fn asked(rows: &[AskRow], rounds: usize) {
    println!("\nquestions at random times, medians of {rounds} rounds");
    for question in Question::ALL {
        let mut shown: Vec<&str> = Vec::new();
        for row in rows.iter().filter(|row| row.question == question) {
            if shown.contains(&row.name.as_str()) {
                continue;
            }
            shown.push(&row.name);
            let of =
                || rows.iter().filter(|other| other.question == question && other.name == row.name);
            let of = |figure: fn(&Figures) -> f64| {
                let mut figures: Vec<f64> = of().map(|row| figure(&row.figures)).collect();
                figures.sort_unstable_by(f64::total_cmp);
                figures[figures.len() / 2]
            };
            println!(
                "{:<18}{:<32}{:>8.1} answers  p50 {:>9.3} ms  p99 {:>9.3} ms",
                question.name(),
                row.name,
                of(|figures| figures.answers),
                of(|figures| figures.p50_ms),
                of(|figures| figures.p99_ms),
            );
        }
    }
}
