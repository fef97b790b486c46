from clickstream_assets.metadata import preview


def test_a_preview_shows_what_clients_sent_without_links_and_images() -> None:
    shown = preview([{"user_id": "![x](http://example.com/x.png)", "name": "a|b\n<b>`c`"}]).value
    assert str(shown).splitlines() == [
        r"| user\_id | name |",
        "| --- | --- |",
        r"| \!\[x\]\(http\:\/\/example\.com\/x\.png\) | a\|b \<b\>\`c\` |",
    ]
