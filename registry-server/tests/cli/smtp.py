"""A mail server for the tests: prints its port, then each mail it takes as a line of JSON.

Arguments: the user and the password it asks for, or none; a certificate and a key for STARTTLS, or none.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


class Printer:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": session.auth_data,
            "subject": message["subject"],
            "body": message.get_content().replace("\r\n", "\n"),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


async def main() -> None:
    user, password, certificate, key = sys.argv[1:5]

    def check(server, session, envelope, mechanism, data):
        good = (data.login.decode(), data.password.decode()) == (user, password)
        return AuthResult(success=good, auth_data=data.login.decode())

    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

    def serve() -> SMTP:
        return SMTP(
            Printer(),
            hostname="mail.test",
            tls_context=context,
            auth_required=bool(user),
            auth_require_tls=context is not None,
            authenticator=check if user else None,
        )

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
