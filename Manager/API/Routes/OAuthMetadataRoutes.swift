import HTTPTypes
import ManagerIdentity
import ManagerModel

/// What a client needs to know of the endpoints for tokens, so that nobody has to type it in (RFC 8414, RFC 9728, RFC 7517).
enum OAuthMetadataRoutes {
    private static let texts = Schema.array(.text, maximum: 1000)
    private static let server = ObjectSchema.answer(
        "AuthorizationServer",
        [
            ("issuer", .text), ("authorization_endpoint", .text), ("token_endpoint", .text),
            ("device_authorization_endpoint", .text), ("introspection_endpoint", .text), ("revocation_endpoint", .text),
            ("jwks_uri", .text), ("scopes_supported", texts), ("response_types_supported", texts),
            ("response_modes_supported", texts), ("grant_types_supported", texts),
            ("token_endpoint_auth_methods_supported", texts), ("revocation_endpoint_auth_methods_supported", texts),
            ("introspection_endpoint_auth_methods_supported", texts), ("code_challenge_methods_supported", texts),
            ("authorization_response_iss_parameter_supported", .boolean), ("service_documentation", .text),
        ])
    private static let resource = ObjectSchema.answer(
        "ProtectedResource",
        [
            ("resource", .text), ("authorization_servers", texts), ("jwks_uri", .text), ("scopes_supported", texts),
            ("bearer_methods_supported", texts), ("resource_name", .text), ("resource_documentation", .text),
        ])
    private static let keys = ObjectSchema.answer(
        "KeySet",
        [
            (
                "keys",
                .array(
                    .object(
                        ObjectSchema.answer(
                            "Key",
                            [
                                ("kty", .choice(["EC"])), ("crv", .choice(["P-256"])), ("use", .choice(["sig"])),
                                ("alg", .choice(["ES256"])), ("kid", .text), ("x", .text), ("y", .text),
                            ])), maximum: 100)
            )
        ])

    private static let resourcePath = "/.well-known/oauth-protected-resource"

    /// Where the API says what its tokens must be like.
    static func resourceAddress(_ issuer: String) -> String { issuer + resourcePath }

    static let grants = [
        "authorization_code", "refresh_token", "client_credentials", "password",
        "urn:ietf:params:oauth:grant-type:device_code",
    ]

    static let routes: [Route] = [
        Route(
            .get, "/.well-known/oauth-authorization-server", "Where and how tokens are got (RFC 8414)", .tokenRequest,
            replies: [(200, .one(server))]
        ) { call in .document(serverDocument(call.services.tokens.issuer)) },
        Route(
            .get, resourcePath, "What tokens of this API must be like (RFC 9728)",
            .tokenRequest, replies: [(200, .one(resource))]
        ) { call in .document(resourceDocument(call.services.tokens.issuer)) },
        Route(
            .get, "/oauth/jwks", "The keys that tokens are signed with (RFC 7517)", .tokenRequest,
            replies: [(200, .one(keys))]
        ) { call in
            let keys = try await call.services.tokens.publishedKeys()
            return .document([
                "keys": .array(
                    keys.map { key in
                        [
                            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": .string(key.id),
                            "x": .string(key.x), "y": .string(key.y),
                        ]
                    })
            ])
        },
    ]

    private static func serverDocument(_ issuer: String) -> JSONValue {
        let methods: JSONValue = ["none", "client_secret_basic", "client_secret_post"]
        return [
            "issuer": .string(issuer), "authorization_endpoint": .string(issuer + "/oauth/authorize"),
            "token_endpoint": .string(issuer + "/oauth/token"),
            "device_authorization_endpoint": .string(issuer + "/oauth/device_authorization"),
            "introspection_endpoint": .string(issuer + "/oauth/introspect"),
            "revocation_endpoint": .string(issuer + "/oauth/revoke"), "jwks_uri": .string(issuer + "/oauth/jwks"),
            "scopes_supported": .texts(TokenScope.known), "response_types_supported": ["code"],
            "response_modes_supported": ["query"], "grant_types_supported": .texts(grants),
            "token_endpoint_auth_methods_supported": methods, "revocation_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"], "authorization_response_iss_parameter_supported": true,
            "service_documentation": .string(issuer + "/v1/openapi.json"),
        ]
    }

    private static func resourceDocument(_ issuer: String) -> JSONValue {
        [
            "resource": .string(issuer), "authorization_servers": [.string(issuer)],
            "jwks_uri": .string(issuer + "/oauth/jwks"), "scopes_supported": .texts(TokenScope.known),
            "bearer_methods_supported": ["header"], "resource_name": "Roost",
            "resource_documentation": .string(issuer + "/v1/openapi.json"),
        ]
    }
}
