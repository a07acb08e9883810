//! Which texts are addresses and mailboxes, case by case.

use super::*;

#[test]
fn addresses_are_taken_as_they_are_and_domains_become_a_labels() {
    let long_local = format!("{}@example.com", "a".repeat(64));
    let cases = [
        ("ada@example.com", "ada@example.com"),
        ("a.b+c_d=e@sub.example.co", "a.b+c_d=e@sub.example.co"),
        ("Ada@Example.COM", "Ada@Example.COM"),
        ("root@localhost", "root@localhost"),
        ("\"a b\\\"@,c\"@example.com", "\"a b\\\"@,c\"@example.com"),
        ("ada@[192.0.2.1]", "ada@[192.0.2.1]"),
        ("ada@[IPv6:2001:db8::1]", "ada@[IPv6:2001:db8::1]"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("åda@example.com", "åda@example.com"),
        (&long_local, &long_local),
    ];
    for (text, expected) in cases {
        assert_eq!(Address::parse(text).as_ref().map(Address::as_str), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    let too_long_local = format!("{}@example.com", "a".repeat(65));
    let too_long_label = format!("a@{}.com", "b".repeat(64));
    let too_long = format!("a@{}com", "bcd.".repeat(63));
    let cases = [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a@b@c.com",
        "a b@c.com",
        "ada@exa mple.com",
        "a..b@c.com",
        ".a@c.com",
        "a.@c.com",
        "ada@.com",
        "ada@com.",
        "ada@a..b",
        "ada@-a.com",
        "ada@a-.com",
        "ada@a_b.com",
        "a@b.c, d@e.f",
        "a@b.c;d@e.f",
        "a@b.c,d@e.f",
        "\"\"@b.c",
        "\"a@b.c",
        "\"a\"b@c.d",
        "ada@[300.1.1.1]",
        "ada@[]",
        "ada@[IPv6:zz]",
        "ada@[1.2.3.4",
        "ada@b.c\r\nBcc: x@y.z",
        "ada@b.c\0",
        "a\u{2028}b@c.d",
        "a\u{85}b@c.d",
        "a\u{a0}b@c.d",
        "a(b)@c.d",
        "<a@b.c>",
        "ada@\u{2028}.com",
        "ada@ex%61mple.com",
        &too_long_local,
        &too_long_label,
        &too_long,
    ];
    for text in cases {
        assert!(Address::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn domains_compare_without_case_and_local_parts_with_it() {
    let address = |text| Address::parse(text).unwrap();
    assert!(address("a@EXAMPLE.com").is_same(&address("a@example.COM")));
    assert!(address("a@bücher.example").is_same(&address("a@XN--BCHER-KVA.example")));
    assert!(!address("A@example.com").is_same(&address("a@example.com")));
    assert!(!address("a@example.com").is_same(&address("a@example.org")));
    assert!(address("åda@example.com").needs_smtputf8());
    assert!(!address("ada@bücher.example").needs_smtputf8());
}

#[test]
fn mailboxes_are_read_in_all_their_forms() {
    let cases = [
        ("a@b.c", None),
        ("  a@b.c ", None),
        ("<a@b.c>", None),
        (" <a@b.c> ", None),
        ("\"\" <a@b.c>", None),
        ("Ada <a@b.c>", Some("Ada")),
        ("Ada Lovelace<a@b.c>", Some("Ada Lovelace")),
        ("\"Lovelace, Ada\" <a@b.c>", Some("Lovelace, Ada")),
        (r#""Ada \"Countess\" L\\" <a@b.c>"#, Some(r#"Ada "Countess" L\"#)),
        ("Ada (home) <a@b.c>", Some("Ada (home)")),
        ("Žofie Müller <a@b.c>", Some("Žofie Müller")),
        ("a@b.c <a@b.c>", Some("a@b.c")),
    ];
    for (text, name) in cases {
        let mailbox = Mailbox::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!((mailbox.name.as_deref(), mailbox.address.as_str()), (name, "a@b.c"), "{text}");
    }
}

#[test]
fn lists_and_broken_mailboxes_are_refused() {
    let cases = [
        "Ada <a@b.c>, Bob <d@e.f>",
        "a@b.c, d@e.f",
        "a@b.c d@e.f",
        "Lovelace, Ada <a@b.c>",
        "a@b.c>",
        "Ada <>",
        "Ada <a@b.c",
        "Ada \"C\" L <a@b.c>",
        "\"Ada <a@b.c>",
        "\"Ada\" a@b.c>",
        "Ada\r\nBcc: x@y.z <a@b.c>",
        "Ada\u{7} <a@b.c>",
        "Ada\u{9b} <a@b.c>",
        "Ada\u{2029} <a@b.c>",
        "friends: a@b.c;",
        "Ada <<a@b.c>>",
        "\tAda <a@b.c>",
        "Ada < a@b.c >",
    ];
    for text in cases {
        assert!(Mailbox::parse(text).is_err(), "{text:?}");
    }
}
