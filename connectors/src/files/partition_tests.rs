use super::*;
use arrow::array::{Int32Array, StringArray};
use arrow::datatypes::Field;
use proptest::prelude::*;

fn rows(values: Vec<Option<&str>>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![
        Field::new("country", DataType::Utf8, true),
        Field::new("n", DataType::Int32, false),
    ]));
    let n = Int32Array::from_iter_values(0..i32::try_from(values.len()).unwrap());
    RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(values)), Arc::new(n)]).unwrap()
}

fn folders(values: Vec<Option<&str>>) -> Vec<(String, Vec<i32>)> {
    let rows = rows(values);
    let split = Partitioner::new(&rows.schema(), &["country".to_owned()]).unwrap();
    let parts = split.split(&rows).unwrap();
    parts
        .into_iter()
        .map(|Part { folder, first, rows: part }| {
            assert_eq!(part.schema(), *split.schema(), "the column is taken out");
            let values = split.values(&rows, first).unwrap().unwrap();
            assert_eq!(values.column(0).as_ref(), rows.column(0).slice(first as usize, 1).as_ref());
            let rows = part;
            let n = rows.column(0).as_any().downcast_ref::<Int32Array>().unwrap().values().to_vec();
            (folder, n)
        })
        .collect()
}

#[test]
fn rows_go_to_the_folder_of_their_value_in_order() {
    assert_eq!(
        folders(vec![Some("DE"), Some("FR"), Some("DE"), None, Some("")]),
        vec![
            ("country=DE".to_owned(), vec![0, 2]),
            ("country=FR".to_owned(), vec![1]),
            (format!("country={NULL_PARTITION}"), vec![3, 4]),
        ]
    );
}

#[test]
fn odd_values_stay_inside_and_apart() {
    let cases = [
        ("../../etc", "country=..%2F..%2Fetc"),
        ("..", "country=.."),
        ("/abs", "country=%2Fabs"),
        ("a/b", "country=a%2Fb"),
        ("a\\b", "country=a%5Cb"),
        ("a=b%2F", "country=a%3Db%252F"),
        ("München 東京", "country=München 東京"),
        ("x\0y\n", "country=x%00y%0A"),
        (NULL_PARTITION, "country=%5F_HIVE_DEFAULT_PARTITION__"),
    ];
    for (value, folder) in cases {
        assert_eq!(folders(vec![Some(value)]), vec![(folder.to_owned(), vec![0])]);
    }
}

#[test]
fn a_value_too_long_for_a_folder_is_a_bad_row() {
    let rows = rows(vec![Some("ok"), Some(&"x".repeat(300))]);
    let split = Partitioner::new(&rows.schema(), &["country".to_owned()]).unwrap();
    let error = split.split(&rows).unwrap_err();
    assert_eq!(error.reaction, Reaction::BadRow);
    assert!(error.message.contains("country") && error.message.contains("308"), "{error}");
}

#[test]
fn columns_that_cannot_be_folders_are_refused_by_name() {
    let rows = rows(vec![Some("x")]);
    for by in [vec!["nope"], vec!["country", "country"], vec!["country", "n"]] {
        let by: Vec<String> = by.into_iter().map(str::to_owned).collect();
        assert_eq!(Partitioner::new(&rows.schema(), &by).unwrap_err().reaction, Reaction::Person);
    }
    let schema =
        Arc::new(Schema::new(vec![Field::new("f", DataType::Float64, true), Field::new("g", DataType::Utf8, true)]));
    assert!(Partitioner::new(&schema, &["f".to_owned()]).unwrap_err().message.contains("`f` is Float64"));
}

proptest! {
    /// Any text is one component, and two texts never share a folder (but null and empty).
    #[test]
    fn any_text_is_one_component_of_its_own(a in "\\PC{0,40}|[/.%=\\\\\0-\u{1f}]{0,20}", b in "\\PC{0,40}|[/.%=]{0,20}") {
        let (x, y) = (component("c", &a), component("c", &b));
        if let (Ok(x), Ok(y)) = (x, y) {
            prop_assert!(!x.contains(['/', '\\', '\0']) && x.starts_with("c=") && x.len() > 2);
            prop_assert_eq!(a == b, x == y);
        }
    }
}
