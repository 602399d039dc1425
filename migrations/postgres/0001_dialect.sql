-- The few functions of SQLite that statements use which are the same on both databases.

-- The elements of a JSON array, numbered from 0; those that are no strings as JSON.
CREATE FUNCTION json_each(list text) RETURNS TABLE (key bigint, value text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT place - 1, element #>> '{}' FROM json_array_elements(list::json) WITH ORDINALITY AS e (element, place) $$;

CREATE AGGREGATE json_group_array(text) (sfunc = array_append, stype = text[], initcond = '{}', finalfunc = array_to_json);

CREATE FUNCTION json_member(object text, name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (object::json -> name)::text;
CREATE OPERATOR -> (leftarg = text, rightarg = text, function = json_member);

CREATE FUNCTION json_member_text(object text, name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN object::json ->> name;
CREATE OPERATOR ->> (leftarg = text, rightarg = text, function = json_member_text);

-- Of two numbers.
CREATE FUNCTION min(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN LEAST(a, b);
CREATE FUNCTION max(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN GREATEST(a, b);
