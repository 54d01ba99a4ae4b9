//! Rust files: a head that says what the file is, a bearable size, nothing left unfinished.

use super::Problem;
use super::tree::SourceFile;

/// Lines of code a file may have: no blank lines, no comments, no tests. Aim for half of it.
const CODE_LINES_MAX: usize = 800;

/// What may not stay in a source file. Put together here, so that this file does not hold it.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    files.iter().filter(|file| file.is_rust()).flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        let what = "the first line must be `//!`: say what this file is, and what it is not";
        problems.push(Problem::new(&file.path, Some(1), what));
    }
    let lines = code_lines(&file.text);
    if lines > CODE_LINES_MAX && !file.is_test() {
        let what = format!("{lines} lines of code, more than {CODE_LINES_MAX}: split it");
        problems.push(Problem::new(&file.path, None, what));
    }
    for (number, line) in file.text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            let what = format!("{word} is for work in progress; finish it");
            problems.push(Problem::new(&file.path, Some(number + 1), what));
        }
    }
    problems
}

/// Lines that are neither blank nor comment, up to the tests at the end of the file.
fn code_lines(text: &str) -> usize {
    let mut lines = text.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let line = line.trim();
        let tests = line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if tests {
            break;
        }
        if !line.is_empty() && !line.starts_with("//") {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let bytes = text.len() as u64;
        let file = SourceFile { path: path.into(), bytes, text: text.into() };
        check(&[file]).into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(problems("src/a.rs", "//! A.\nfn a() {}\n"), [""; 0]);
        assert_eq!(problems("src/a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn only_code_counts() {
        let comments = "//! A.\n".to_owned() + &"// why\n\n".repeat(1000);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"x();\n".repeat(1000);
        assert_eq!(problems("src/a.rs", &(comments.clone() + &tests)), [""; 0]);
        let code = comments + &"x();\n".repeat(801);
        assert_eq!(problems("src/a.rs", &code).len(), 1);
        assert_eq!(problems("src/a/tests.rs", &code), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_named_with_its_line() {
        let text = format!("//! A.\nfn a() {{ {}() }}\n", UNFINISHED[0]);
        assert!(problems("src/a.rs", &text)[0].starts_with("src/a.rs:2: "));
    }
}
