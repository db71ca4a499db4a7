// The little English that generated text needs: verb forms, plurals, number words, and the finish of a text
// (articles, capitals, spaces). Regular forms by rule, irregular ones by table; lower-case ASCII words.
#pragma once
#include <string>
#include <string_view>

namespace graft {

enum class VerbForm { Base, ThirdPerson, Past, PastPlural, Participle, Gerund };  // PastPlural differs for "be" only

// The form of a verb given in its base form: verb_form("carry", ThirdPerson) == "carries".
std::string verb_form(std::string_view base, VerbForm form);

// The same for a phrase that begins with its verb: "pick up the ball" -> "picks up the ball".
std::string phrase_form(std::string_view phrase, VerbForm form);

std::string plural(std::string_view noun);

// 0..99 in words ("twenty-one"), and back; number_value gives -1 for anything else.
std::string number_word(int value);
int number_value(std::string_view word);

// Single spaces, none before punctuation; "a" becomes "an" before a vowel; a capital after the end of a sentence and at
// the start of speech.
std::string finish_text(std::string_view text);

}  // namespace graft
