"""Reads e-mails with Python's own parser: a line of base64 each on stdin, a line of JSON each on stdout."""

import base64
import email
import email.policy
import json
import sys


def whole(text):
    """UTF-8 that stands in a header as it is (RFC 6532) comes as surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8")


def mailboxes(header):
    if not header:
        return []
    return [[whole(a.display_name), whole(f"{a.username}@{a.domain}")] for a in header.addresses]


def read(message):
    text = html = None
    attachments = []
    defects = [str(defect) for defect in message.defects]
    for name, header in message.items():
        # Python knows no encoded word between quotes, which other programs write and read as the name of a file, and
        # complains of UTF-8 as it is.
        known = ("encoded word inside quoted string", "on-ASCII characters")
        found = [str(defect) for defect in getattr(header, "defects", [])]
        defects += [f"{name}: {defect}" for defect in found if not any(text in defect for text in known)]
    for part in message.walk():
        defects += [str(defect) for defect in part.defects]
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        disposition = part.get_content_disposition()
        if disposition is None and part.get_content_type() == "text/plain":
            text = content.decode("utf-8")
        elif disposition is None and part.get_content_type() == "text/html":
            html = content.decode("utf-8")
        else:
            content_id = part["Content-ID"]
            attachments.append({
                "filename": part.get_filename(),
                "content_type": part.get_content_type(),
                "content": base64.b64encode(content).decode(),
                "content_id": content_id.strip().strip("<>") if content_id else None,
                "inline": disposition == "inline",
            })
    return {
        "subject": message["Subject"],
        "from": mailboxes(message["From"]),
        "reply_to": mailboxes(message["Reply-To"]),
        "to": mailboxes(message["To"]),
        "cc": mailboxes(message["Cc"]),
        "text": text,
        "html": html,
        "attachments": attachments,
        "headers": [[name, whole(str(value))] for name, value in message.items()],
        "defects": defects,
    }


for line in sys.stdin:
    raw = base64.b64decode(line)
    print(json.dumps(read(email.message_from_bytes(raw, policy=email.policy.SMTPUTF8))), flush=True)
