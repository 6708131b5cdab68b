"""Resources that run and end, as tests make them: create, wait, the fields of a refusal."""
from conftest import PARENT, wait_until


class Kind:
    def __init__(self, collection, over, seconds=60):
        self.collection, self.over, self.seconds = collection, over, seconds

    def post(self, s, body, parent=PARENT):
        return s.call("POST", f"/v1/{parent}/{self.collection}", body)

    def create(self, s, body):
        r = self.post(s, body)
        assert r.status_code == 200, r.text
        return r.json()

    def wait(self, s, name, seconds=None):
        def ended():
            r = s.get(name)
            return r if r.get("state") in self.over else None
        return wait_until(ended, seconds or self.seconds, f"{name} to end; log:\n{s.log()[-1500:]}")

    def run(self, s, body):
        return self.wait(s, self.create(s, body)["name"])

    def refusal(self, s, body, code=400):
        """The error, and what it says of each field."""
        r = self.post(s, body)
        assert r.status_code == code, r.text
        e = r.json()["error"]
        fields = {}
        for v in (v for d in e.get("details", []) for v in d.get("fieldViolations", [])):
            fields.setdefault(v["field"], v["description"])
        return e, fields
