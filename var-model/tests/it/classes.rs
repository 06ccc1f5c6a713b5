//! One string, two meanings: classes whose names look like numbers, ranges, words and lists.

use var_model::ClassNames;
use var_model::classes::by_number;

fn imagenet() -> ClassNames {
    ClassNames::new(Vec::new(), 1000).unwrap()
}

fn named(names: &[&str]) -> ClassNames {
    ClassNames::new(names.iter().map(|&name| name.to_owned()).collect(), names.len()).unwrap()
}

#[test]
fn a_name_that_is_a_number_and_the_number_are_refused_where_they_differ() {
    // As folders are sorted: class 1 is named 10, class 2 is named 2.
    let names = named(&["1", "10", "2", "3", "a", "b", "c", "d", "e", "f", "g"]);
    for (text, parts) in [
        ("1", &["number 1 ('10')", "number 0 ('1')", "id:1 ", "name:1 "][..]),
        ("10", &["number 10 ('g')", "number 1 ('10')", "id:10 ", "name:10 "]),
        ("1-3", &["'1-3'", "number 0", "id:1-3", "name:NAME"]),
        ("0-1", &["'0-1'", "id:0-1"]),
    ] {
        let message = names.label(text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    for (text, labels) in [
        ("id:10", vec![10]),
        ("#10", vec![10]),
        ("name:10", vec![1]),
        ("id:1-3", vec![1, 2, 3]),
        ("#1-2", vec![1, 2]),
        // Both readings agree, or there is only one.
        ("2", vec![2]),
        ("4", vec![4]),
        ("4-6", vec![4, 5, 6]),
        ("all", (0..11).collect()),
        ("id:none", vec![11]),
    ] {
        assert_eq!(names.label(text).unwrap(), labels, "{text}");
    }
}

#[test]
fn a_name_whose_number_does_not_exist_is_a_name() {
    let names = named(&["10", "20", "30"]);
    assert_eq!(names.label("20").unwrap(), [1]);
    assert_eq!(names.label("2").unwrap(), [2]);
    assert!(names.label("40").unwrap_err().to_string().contains("classes 0 to 2"));
    assert!(names.label("id:20").unwrap_err().to_string().contains("classes 0 to 2"));
    assert!(names.label("name:2").is_err());
}

#[test]
fn names_with_leading_zeros_are_numbers_too() {
    let names = named(&["001", "002", "003"]);
    let message = names.label("1").unwrap_err().to_string();
    assert!(message.contains("id:1 ") && message.contains("name:001 "), "{message}");
    assert!(names.label("002").is_err());
    assert_eq!(names.label("name:002").unwrap(), [1]);
    assert_eq!(names.label("0").unwrap(), [0]);
    assert_eq!(named(&["000", "001", "002"]).label("0-2").unwrap(), [0, 1, 2]);
}

#[test]
fn words_and_ranges_that_are_names_are_refused_too() {
    let names = named(&["all", "none", "0-1", "#2", "x"]);
    for (text, parts) in
        [("all", ["id:all", "name:all"]), ("none", ["id:none", "name:none"]), ("0-1", ["id:0-1", "name:0-1"])]
    {
        let message = names.label(text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    assert!(names.label("#2").unwrap_err().to_string().contains("id:2 for the first, name:#2 for"));
    for (text, label) in [("name:all", 0), ("name:none", 1), ("name:0-1", 2), ("name:#2", 3), ("id:none", 5)]
    {
        assert_eq!(names.label(text).unwrap(), [label], "{text}");
    }
    for text in ["id:x", "id:", "name:y", "name:", "id:9"] {
        assert!(names.label(text).is_err(), "{text}");
    }
    assert_eq!(by_number(7), "id:7");
}

#[test]
fn a_list_keeps_names_with_commas_whole() {
    let list = |names: &ClassNames, text: &str| names.labels([&text.to_owned()]);
    let names = named(&["b, c", "bee", "d,e,f"]);
    for (text, labels) in [
        ("b, c", vec![0]),
        ("bee,B,C,bee", vec![1, 0, 1]),
        ("b", vec![0]),
        ("d, e, f,0", vec![2, 0]),
        ("name:b,c,2", vec![0, 2]),
        ("d,e", vec![2, 2]),
    ] {
        assert_eq!(list(&names, text).unwrap(), labels, "{text}");
    }
    assert_eq!(list(&imagenet(), "tench, Tinca tinca,goldfish").unwrap(), [0, 1]);
    assert_eq!(imagenet().label("maillot, tank suit").unwrap(), [639]);
    assert_eq!(list(&imagenet(), "maillot, tank suit").unwrap(), [639]);
    // Where the parts are classes of their own, the list is another thing.
    let names = named(&["b,c", "b", "c"]);
    let message = list(&names, "b,c").unwrap_err().to_string();
    assert!(message.contains("id:0 for the first, id:1,id:2 for the second"), "{message}");
    assert_eq!(list(&names, "name:b,c").unwrap(), [0]);
    assert!(list(&names, "id:0,,id:1").is_err());
}

#[test]
fn names_that_differ_in_case_alone_are_told_apart_as_written() {
    let names = named(&["Cat", "cat", "dog"]);
    assert_eq!(names.label("cat").unwrap(), [1]);
    assert_eq!(names.label("name:Cat").unwrap(), [0]);
    assert_eq!(names.label("DOG").unwrap(), [2]);
    assert!(names.label("CAT").unwrap_err().to_string().contains("id:0"));
}
