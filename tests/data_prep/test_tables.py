import pytest

from data_prep.datasets.tables import read_lines, read_table
from mmadfer_jax.errors import UserError

TABLE = "path,label,split\na/1.mp4,très gai,train\nb 2.mp4,sad,test\n"
ROWS = [
    {"path": "a/1.mp4", "label": "très gai", "split": "train"},
    {"path": "b 2.mp4", "label": "sad", "split": "test"},
]


def read(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path, ("path", "label"), ("split", "group"))


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r"),
        TABLE.rstrip(),
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace(",", "|"),
        "sep=;\r\n" + TABLE.replace(",", ";"),
        "\n\n" + TABLE,
        TABLE.replace("path,label,split", " Path ,LABEL,\u200bSplit"),
        TABLE.replace("path,label,split", '"path","label","split"'),
        TABLE.replace("path,label,split", '"path";"label";"split"').replace(",", ";"),
        TABLE.replace("train\n", "train,,\n").replace("split\n", "split,,\n"),
        TABLE.replace("split\n", "split,group\n"),  # nothing at the end of short rows
        TABLE.replace("test\n", "test\n,,\n\n"),
        ",path,label,split\n0,a/1.mp4,très gai,train\n1,b 2.mp4,sad,test\n",
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        b"\xff\xfe" + TABLE.replace(",", "\t").replace("\n", "\r\n").encode("utf-16-le"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
    ],
)
def test_a_table_in_whatever_form(tmp_path, data):
    rows = read(tmp_path / "t.csv", data)
    kept = [{k: v for k, v in row.items() if k != "group"} for _, row in rows]
    assert kept == ROWS
    assert not any(row.get("group") for _, row in rows)


def test_quoted_values_may_hold_anything(tmp_path):
    data = 'label;path\n"very\nhappy";"a;b, ""c"".mp4"\nsad;2.mp4\n'
    rows = read(tmp_path / "t.csv", data)
    assert rows == [
        (3, {"label": "very\nhappy", "path": 'a;b, "c".mp4'}),
        (4, {"label": "sad", "path": "2.mp4"}),
    ]


def test_lines_are_those_of_the_file(tmp_path):
    with pytest.raises(UserError, match="line 4 has no label"):
        read(tmp_path / "t.csv", "sep=;\npath;label\n1.mp4;x\n2.mp4;\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("path,label\na,b.mp4,x\n", "line 2 has 3 fields, the header 2"),
        ("path,label,,\na,b.mp4,x,\n", "line 2 has 3 fields|line 2 has 4 fields"),
        ("path,,label\n1.mp4,y,x\n", "line 2 has a value in a column without a name"),
        ("path,label,emotion\n1.mp4,x,y\n", "the header is 'path,label,emotion', expected"),
        ("path,label,Label\n1.mp4,x,y\n", "each once"),
        ('path,label\n"1.mp4,x\n2.mp4,y\n', "line 3: .*is a quote not closed"),
        ("path,label\n1.mp4,\u200b\n", "line 2 has no label"),
        ("path,label\n", "a header and no rows"),
        ("", "the header is ''"),
        (TABLE.encode("latin-1"), "not a CSV file in UTF-8; save it as CSV in UTF-8"),
        (TABLE.encode("utf-16-le"), "not a CSV file in UTF-8"),  # without a mark
        (TABLE.encode("utf-32"), "not a CSV file in UTF-8"),
        (b"PK\x03\x04\xff\xff", "a workbook"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, data, message):
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path / "t.csv", data)
    assert "\n" not in str(raised.value)


def test_lists_too_may_be_in_utf16_or_gbk(tmp_path):
    path = tmp_path / "list.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "gbk"):
        path.write_bytes("1.mp4 高兴\r\n\r\n2.mp4 sad".encode(encoding))
        assert read_lines(path) == [(1, "1.mp4 高兴"), (3, "2.mp4 sad")]
