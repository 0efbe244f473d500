"""The OpenAPI document as others read it, and the rules that it keeps beyond those of OpenAPI itself."""

import unittest

from clientkit.site import SiteTest
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = {"get", "put", "post", "patch", "delete"}


class Document(SiteTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = cls.site.call("GET", "/v1/openapi.json")

    def operations(self):
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                self.assertIn(method, METHODS)
                yield f"{method.upper()} {path}", path, method, operation

    def test_valid(self):
        errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
                  for error in OpenAPIV31SpecValidator(self.document).iter_errors()]
        self.assertEqual(errors, [])

    def test_top(self):
        info = self.document["info"]
        for member in ("title", "version", "description", "license"):
            self.assertTrue(info[member], member)
        self.assertTrue(self.document["servers"])
        names = [tag["name"] for tag in self.document["tags"]]
        self.assertEqual(len(names), len(set(names)))
        for tag in self.document["tags"]:
            self.assertTrue(tag["description"].endswith("."), tag)

    def test_operations(self):
        seen = set()
        tags = {tag["name"] for tag in self.document["tags"]}
        for name, path, method, operation in self.operations():
            with self.subTest(name):
                self.assertNotIn(operation["operationId"], seen)
                seen.add(operation["operationId"])
                self.assertTrue(operation["summary"][0].isupper() and not operation["summary"].endswith("."))
                self.assertTrue(set(operation["tags"]) <= tags)
                self.assertTrue(any(status.startswith("2") or status.startswith("3") for status in operation["responses"]))
                for parameter in operation.get("parameters", []):
                    self.assertTrue(parameter["description"], parameter)
                    self.assertIn("schema", parameter)
                if method == "get":
                    self.assertNotIn("requestBody", operation)
                if operation["security"]:
                    for status in ("401", "403", "429"):
                        self.assertIn(status, operation["responses"])
                if "{" in path:
                    self.assertIn("404", operation["responses"])

    def test_examples(self):
        """Every JSON body and answer has an example."""
        for name, _, _, operation in self.operations():
            contents = [operation.get("requestBody", {}).get("content", {})]
            contents += [answer.get("content", {}) for answer in operation["responses"].values()]
            for content in contents:
                for kind, media in content.items():
                    if "json" in kind and "schema" in media and "openapi" not in name:
                        self.assertIn("example", media, f"{name} {kind}")

    def test_paths(self):
        """No two paths mean the same, and each is in lower case without an end of its own."""
        shapes = {}
        for path in self.document["paths"]:
            self.assertFalse(path.endswith("/") and path != "/")
            shape = "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
            self.assertNotIn(shape, shapes, f"{path} and {shapes.get(shape)}")
            shapes[shape] = path
            for part in path.split("/"):
                self.assertEqual(part, part.lower())

    def test_components_are_used(self):
        text = str(self.document)
        for kind, items in self.document["components"].items():
            if kind == "securitySchemes":
                continue
            for name in items:
                self.assertIn(f"#/components/{kind}/{name}'", text, f"{kind}/{name} is used nowhere")

    def test_page(self):
        status, page = self.site.request("GET", "/v1/docs")
        self.assertEqual(status, 200)
        for name, path, _, _ in self.operations():
            self.assertIn(path, str(page), name)


if __name__ == "__main__":
    unittest.main()
